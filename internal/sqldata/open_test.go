package sqldata_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata/wire"
)

// Google's connector has one HTTP/2 connection, and its Dial waits at the stream
// limit until its context ends.
func TestALimitOfStreamsHoldsUpNobody(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		limit uint32
		conns int
		most  int64 // TCP connections
	}{
		"100": {100, 150, 4},
		"3":   {3, 30, 12},
		"1":   {1, 5, 7},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inWorld(t, echo, func(w *world) {
				began := time.Now()
				conns := make(chan *sqldata.Conn, tt.conns)
				var wg sync.WaitGroup
				for range tt.conns {
					wg.Go(func() {
						c, err := w.client.Open(w.t.Context(), session, w.route)
						if err != nil {
							t.Error(err)
							return
						}
						conns <- c
						write(t, c, "hello")
						wantRead(t, c, "hello")
					})
				}
				wg.Wait()
				if took := time.Since(began); took > 2*time.Second {
					t.Errorf("took %v", took)
				}
				if n := w.open.Load(); int(n) != tt.conns {
					t.Errorf("%d streams, want %d", n, tt.conns)
				}
				if n := w.dials.Load(); n > tt.most {
					t.Errorf("%d TCP connections, want %d at most", n, tt.most)
				}
				close(conns)
				for c := range conns {
					_ = c.Close()
				}
			}, grpc.MaxConcurrentStreams(tt.limit))
		})
	}
}

func TestARefusalIsTheErrorOfOpen(t *testing.T) {
	t.Parallel()
	inWorld(t, func(s stream) error {
		if _, err := s.recv(); err != nil {
			return err
		}
		return status.Error(codes.FailedPrecondition, wire.EditionRefusal+": ENTERPRISE")
	}, func(w *world) {
		_, err := w.client.Open(w.t.Context(), session, w.route)
		e, ok := errors.AsType[*sqldata.StatusError](err)
		if !ok || !e.Unserved() || status.Code(err) != codes.FailedPrecondition {
			t.Errorf("got %v", err)
		}
	})
}

// A service that ended the stream before the session was sent, as one time in
// fifty here, was not heard: its last message was thrown away, and the end was
// told as io.EOF.
func TestAnEndBeforeTheSessionTellsWhy(t *testing.T) {
	t.Parallel()
	inWorld(t, func(s stream) error {
		return s.terminate(codes.Internal, "the reason")
	}, func(w *world) {
		for range 500 {
			c, err := w.client.Open(w.t.Context(), session, w.route)
			if e, ok := errors.AsType[*sqldata.StatusError](err); !ok || e.Code != codes.Internal || e.Message != "the reason" {
				t.Fatalf("got %v, %v", c, err)
			}
		}
	})
}

// A service that waits for the first byte of the client's is not waited for, but
// for a second, and takes no connection more than one that says something.
func TestASilentServiceIsWaitedForASecond(t *testing.T) {
	t.Parallel()
	inWorld(t, func(s stream) error {
		if _, err := s.recv(); err != nil {
			return err
		}
		text, err := s.read()
		if err != nil {
			return err
		}
		if err := s.SendMsg(&wire.Response{Metadata: &wire.Metadata{}}); err != nil {
			return err
		}
		return s.write(text)
	}, func(w *world) {
		var conns []*sqldata.Conn
		for range 10 {
			began := time.Now()
			c := w.connect()
			if took := time.Since(began); took != time.Second || c.Answered() {
				t.Errorf("Open took %v; answered %v", took, c.Answered())
			}
			conns = append(conns, c)
		}
		if n := w.dials.Load(); n != 1 {
			t.Errorf("%d TCP connections, want 1", n)
		}
		for _, c := range conns {
			write(t, c, "hello")
			wantRead(t, c, "hello")
			if !c.Answered() {
				t.Error("not answered")
			}
			_ = c.Close()
		}
	})
}

// The context's own end is told, with what Open waited for. Google's connector
// says Canceled.
func TestTheEndOfTheContextIsTold(t *testing.T) {
	t.Parallel()
	hang := func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	deaf := make(chan bool)
	for name, tt := range map[string]struct {
		dial func(context.Context, string, string) (net.Conn, error)
		want string
	}{
		"connecting": {hang, "connecting to 127.0.0.1:443"},
		"deaf":       {func(context.Context, string, string) (net.Conn, error) { <-deaf; return nil, errors.New("late") }, "connecting to"},
		"answer":     {nil, "the service's answer"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(s stream) error {
				<-s.Context().Done()
				return nil
			}, func(w *world) {
				if tt.dial != nil {
					w.route = &sqldata.Route{Dial: tt.dial}
				}
				if name == "deaf" {
					deaf = make(chan bool)
				}
				reason := errors.New("the reason")
				ctx, cancel := context.WithTimeoutCause(w.t.Context(), 700*time.Millisecond, reason)
				defer cancel()
				began := time.Now()
				_, err := w.client.Open(ctx, session, w.route)
				if !errors.Is(err, reason) || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v, want %q", err, tt.want)
				}
				if took := time.Since(began); took != 700*time.Millisecond {
					t.Errorf("took %v", took)
				}
				if name == "deaf" {
					w.client.Close()
					time.Sleep(connectTimeout)
					close(deaf)
				}
			})
		})
	}
}

func TestARefusedTokenIsReplacedOnce(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var seen []metadata.MD
	inWorld(t, func(s stream) error {
		md, _ := metadata.FromIncomingContext(s.Context())
		mu.Lock()
		seen = append(seen, md)
		mu.Unlock()
		if md.Get("authorization")[0] != "Bearer good" {
			return status.Error(codes.Unauthenticated, "no")
		}
		return echo(s)
	}, func(w *world) {
		token, better := "bad", "good"
		client := sqldata.New(sqldata.Config{
			Endpoint:  sqldata.Endpoint{Host: "127.0.0.1", Port: "443", Plaintext: true},
			UserAgent: "cloudsqlconn/1",
			Credentials: func(context.Context) (sqldata.Credentials, error) {
				return sqldata.Credentials{Token: token, QuotaProject: "quota"}, nil
			},
			Replace: func(refused string) bool { token = better; return refused == "bad" },
		})
		defer client.Close()
		c, err := client.Open(w.t.Context(), session, w.route)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
		token, better = "bad", "bad"
		if _, err := client.Open(w.t.Context(), session, w.route); status.Code(err) != codes.Unauthenticated {
			t.Errorf("got %v", err)
		}
		if len(seen) != 4 {
			t.Fatalf("%d streams, want 4", len(seen))
		}
		for name, want := range map[string]string{
			"x-goog-user-project":   "quota",
			"x-goog-request-params": "location_id=locations/europe-west1&instance_id=projects/my-project/instances/my-db",
			"content-type":          "application/grpc",
		} {
			if got := seen[0].Get(name); len(got) != 1 || got[0] != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		if got := seen[0].Get("user-agent"); !strings.HasPrefix(got[0], "cloudsqlconn/1 grpc-go/") {
			t.Errorf("user agent %q", got)
		}
		if got := seen[0].Get("grpc-timeout"); got != nil {
			t.Errorf("grpc-timeout %q", got)
		}
	})
}

// A failed token is the error, and nothing is sent.
func TestWithoutATokenNothingIsSent(t *testing.T) {
	t.Parallel()
	inWorld(t, echo, func(w *world) {
		none := errors.New("no token")
		client := sqldata.New(sqldata.Config{
			Endpoint:    sqldata.Endpoint{Host: "127.0.0.1", Port: "443"},
			TLS:         &tls.Config{},
			Credentials: func(context.Context) (sqldata.Credentials, error) { return sqldata.Credentials{}, none },
		})
		defer client.Close()
		if _, err := client.Open(w.t.Context(), session, w.route); !errors.Is(err, none) || w.dials.Load() != 0 {
			t.Errorf("got %v after %d connections", err, w.dials.Load())
		}
	})
}
