package sqldata_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata"
)

// A connection whose network has gone is found out by the Dial that meets it, not
// after hours.
func TestADeadConnectionHoldsUpNobody(t *testing.T) {
	t.Parallel()
	inWorld(t, echo, func(w *world) {
		old := w.connect()
		write(t, old, "hello")
		wantRead(t, old, "hello")
		more := w.fill() // so that a second connection is there
		w.tcp(0).hole.Store(true)
		w.tcp(1).hole.Store(true)
		began := time.Now()
		c := w.connect()
		if took := time.Since(began); took > 1500*time.Millisecond {
			t.Errorf("Open took %v", took)
		}
		write(t, c, "hello")
		wantRead(t, c, "hello")
		_ = c.Close()
		if n := w.dials.Load(); n != 3 {
			t.Errorf("%d TCP connections, want 3", n)
		}
		// The one that is there is given up, and its Read says so.
		_, err := old.Read(make([]byte, 1))
		if e, ok := errors.AsType[*sqldata.StatusError](err); !ok || e.Code != codes.Unavailable {
			t.Errorf("Read: %v", err)
		}
		if took := time.Since(began); took > 45*time.Second {
			t.Errorf("the dead connection was noticed after %v", took)
		}
		for _, c := range append(more, old) {
			_ = c.Close()
		}
	})
}

// That the service says nothing first by one route was taken to be so by all: a
// dead connection of another was returned as one that works.
func TestSilenceByOneRouteTellsNothingAboutAnother(t *testing.T) {
	t.Parallel()
	var terse atomic.Bool
	inWorld(t, func(s stream) error {
		if terse.Load() {
			<-s.Context().Done()
			return nil
		}
		return echo(s)
	}, func(w *world) {
		old := w.connect()
		terse.Store(true)
		silent, err := w.client.Open(w.t.Context(), session, &sqldata.Route{Dial: w.dial})
		if err != nil || silent.Answered() {
			t.Fatalf("the service has answered, %v", err)
		}
		terse.Store(false)
		w.tcp(0).hole.Store(true)
		c := w.connect()
		if n := w.dials.Load(); !c.Answered() || n != 3 {
			t.Errorf("answered %v, over one of %d TCP connections", c.Answered(), n)
		}
		for _, c := range []*sqldata.Conn{old, silent, c} {
			_ = c.Close()
		}
		_ = w.tcp(0).Close()
	})
}

// While one connection hangs, another is tried; the errors of both are told.
func TestASecondConnectionIsTriedBesideOneThatHangs(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		works bool
		want  []string
	}{
		"the second works": {true, nil},
		"both fail":        {false, []string{"the reason", "before that", "refused"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inWorld(t, echo, func(w *world) {
				dial := w.route.Dial
				w.route = &sqldata.Route{Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
					if w.dials.Add(1) == 1 {
						<-ctx.Done()
						return nil, ctx.Err()
					}
					if !tt.works {
						return nil, errors.New("refused")
					}
					return dial(ctx, network, addr)
				}}
				ctx, cancel := context.WithTimeoutCause(w.t.Context(), 5*time.Second, errors.New("the reason"))
				defer cancel()
				began := time.Now()
				c, err := w.client.Open(ctx, session, w.route)
				if tt.works {
					if took := time.Since(began); err != nil || took != time.Second {
						t.Errorf("after %v: %v", took, err)
					}
					_ = c.Close()
					return
				}
				for _, want := range tt.want {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("%v does not tell %q", err, want)
					}
				}
			})
		})
	}
}

const connectTimeout = 20 * time.Second

// A server that refuses connections is told at once, and tried again at once.
func TestARefusedConnectionIsToldAtOnce(t *testing.T) {
	t.Parallel()
	inWorld(t, echo, func(w *world) {
		down := true
		dial := w.route.Dial
		w.route = &sqldata.Route{Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if down {
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
			}
			return dial(ctx, network, addr)
		}}
		for range 3 {
			began := time.Now()
			_, err := w.client.Open(w.t.Context(), session, w.route)
			if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "connection refused") || time.Since(began) != 0 {
				t.Errorf("after %v: %v", time.Since(began), err)
			}
		}
		down = false
		c := w.connect()
		_ = c.Close()
	})
}

// A stream of hours does not end with the connection's time, and new streams go
// on another.
func TestConnectionsAreReplacedBeforeTheFrontEndEndsThem(t *testing.T) {
	t.Parallel()
	inWorld(t, echo, func(w *world) {
		old := w.connect()
		for range 3 {
			time.Sleep(50 * time.Minute)
			c := w.connect()
			write(t, c, "hello")
			wantRead(t, c, "hello")
			_ = c.Close()
			write(t, old, "hello")
			wantRead(t, old, "hello")
		}
		_ = old.Close()
		if n := w.dials.Load(); n != 4 {
			t.Errorf("%d TCP connections, want 4", n)
		}
		time.Sleep(6 * time.Minute)
		synctest.Wait()
		if n := w.connected(); n != 0 {
			t.Errorf("%d connections are open, though nobody uses them", n)
		}
	})
}

// Servers of gRPC end connections that ping more often than every five minutes,
// unless they are told otherwise. That happens once.
func TestAServerThatComplainsAboutPingsIsLeftAlone(t *testing.T) {
	t.Parallel()
	inWorld(t, echo, func(w *world) {
		for i, want := range []bool{true, false} {
			c := w.connect()
			_ = c.SetReadDeadline(time.Now().Add(2 * time.Hour))
			_, err := c.Read(make([]byte, 1))
			e, ok := errors.AsType[*sqldata.StatusError](err)
			if complained := ok && strings.Contains(e.Message, "too_many_pings"); complained != want {
				t.Errorf("connection %d: %v", i, err)
			}
			_ = c.Close()
		}
	}, grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{}))
}

func TestConnectionsOutliveTheClient(t *testing.T) {
	t.Parallel()
	inWorld(t, echo, func(w *world) {
		c := w.connect()
		w.client.Close()
		if _, err := w.client.Open(w.t.Context(), session, w.route); !errors.Is(err, sqldata.ErrClosed) {
			t.Errorf("Open after Close: %v", err)
		}
		write(t, c, "hello")
		wantRead(t, c, "hello")
		_ = c.Close()
		time.Sleep(2 * time.Second)
		if n := w.connected(); n != 0 {
			t.Errorf("%d connections are open after the last stream", n)
		}
	})
}
