package faults_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/memnet"
)

// serving is a door to an instance.
type serving struct {
	t    *testing.T
	l    *memnet.Listener
	stop context.CancelFunc
	done chan error // what Serve returned
}

func (w *world) serve(name string, opts ...cloudsqlconn.ServeOption) *serving {
	ctx, stop := context.WithCancel(context.Background())
	s := &serving{t: w.t, l: memnet.Listen("door"), stop: stop, done: make(chan error, 1)}
	go func() { s.done <- w.dialer.Serve(ctx, s.l, name, opts...) }()
	return s
}

// connect opens the door.
func (s *serving) connect() net.Conn {
	s.t.Helper()
	c, err := s.l.DialContext(s.t.Context(), "tcp", "door")
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// wantEnd waits for Serve to return, and checks how long it took.
func (s *serving) wantEnd(want time.Duration) {
	s.t.Helper()
	start := time.Now()
	if err := <-s.done; err != nil {
		s.t.Errorf("Serve: %v", err)
	}
	if d := time.Since(start); d != want {
		s.t.Errorf("Serve returned after %v, want %v", d, want)
	}
	if _, err := s.l.DialContext(s.t.Context(), "tcp", "door"); err == nil {
		s.t.Error("the listener is still open")
	}
}

func TestServeLeadsToTheInstance(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		s := w.serve(testInstance, cloudsqlconn.WithPrivateIP())
		for range 3 {
			c := s.connect()
			if err := echo(c); err != nil {
				t.Error(err)
			}
			_ = c.Close()
		}
		c := s.connect()
		if err := echo(c); err != nil {
			t.Error(err)
		}
		// The end of one direction is passed on, and the other goes on.
		if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Error(err)
		}
		if rest, err := io.ReadAll(c); len(rest) != 0 || err != nil {
			t.Errorf("after the end of the stream: %q, %v", rest, err)
		}
		_ = c.Close()
		synctest.Wait()
		if n := w.dialer.Instances()[0].OpenConnections; n != 0 {
			t.Errorf("%d connections are open", n)
		}
		s.stop()
		s.wantEnd(0)
	})
}

func TestServeDrains(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		s := w.serve(testInstance)
		c := s.connect()
		if err := echo(c); err != nil {
			t.Fatal(err)
		}
		s.stop()
		time.Sleep(10 * time.Second)
		if err := echo(c); err != nil {
			t.Errorf("a connection was cut: %v", err)
		}
		_ = c.Close()
		s.wantEnd(0)
	})
	for name, tt := range map[string]struct {
		opts []cloudsqlconn.ServeOption
		want time.Duration
	}{
		"default": {want: 30 * time.Second},
		"0":       {[]cloudsqlconn.ServeOption{cloudsqlconn.WithDrainTimeout(5 * time.Second), cloudsqlconn.WithDrainTimeout(0)}, 30 * time.Second},
		"none":    {[]cloudsqlconn.ServeOption{cloudsqlconn.WithDrainTimeout(-1)}, 0},
		"5 s":     {[]cloudsqlconn.ServeOption{cloudsqlconn.WithDrainTimeout(5 * time.Second)}, 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inQuietWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
				s := w.serve(testInstance, tt.opts...)
				c := s.connect()
				if err := echo(c); err != nil {
					t.Fatal(err)
				}
				s.stop()
				s.wantEnd(tt.want)
				if _, err := c.Read(make([]byte, 1)); err == nil {
					t.Error("the connection was not cut")
				}
			})
		})
	}
}

func TestServeEndsWithTheDialer(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		w.fault.Store(&cloudsqltest.Fault{Hang: true})
		s := w.serve(testInstance)
		c := s.connect()
		time.Sleep(time.Second)
		if err := w.dialer.Close(); err != nil {
			t.Error(err)
		}
		_ = c.Close()
		s.wantEnd(0)
		w.wantFaults()

		l := memnet.Listen("door")
		if err := w.dialer.Serve(t.Context(), l, testInstance); !errors.Is(err, cloudsqlconn.ErrDialerClosed) {
			t.Errorf("Serve of a closed Dialer: %v", err)
		}
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Error("the listener is still open")
		}
	})
}

func TestServeTellsClientsWhyTheyAreNotConnected(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{DatabaseVersion: "MYSQL_8_4"}, func(t *testing.T, w *world) {
		s := w.serve(testInstance, cloudsqlconn.WithMaxConnections(1))
		first := s.connect()
		if err := echo(first); err != nil {
			t.Fatal(err)
		}
		refused := s.connect()
		if text, err := io.ReadAll(refused); !bytes.Contains(text, []byte("limit of 1 connection reached")) || err != nil {
			t.Errorf("the second client was told %q, %v", text, err)
		}
		_ = first.Close()
		synctest.Wait()
		again := s.connect()
		if err := echo(again); err != nil {
			t.Errorf("after the first has left: %v", err)
		}
		_ = again.Close()
		s.stop()
		s.wantEnd(0)

		s = w.serve("my-project:europe-west1:missing")
		// Nothing is known of the engine; who waits is a MySQL client.
		if text, err := io.ReadAll(s.connect()); !bytes.Contains(text, []byte("does not exist")) || err != nil {
			t.Errorf("the client was told %q, %v", text, err)
		}
		s.stop()
		s.wantEnd(0)
	})
}

func TestServeReturnsTheListenersError(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		s := w.serve(testInstance)
		synctest.Wait()
		_ = s.l.Close()
		if err := <-s.done; !errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v", err)
		}
	})
}

// F30
func TestServeNamesWrongOptions(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		l := memnet.Listen("door")
		err := w.dialer.Serve(t.Context(), l, testInstance, nil, cloudsqlconn.WithMaxConnections(-1), cloudsqlconn.WithDialTimeout(-1))
		if !errors.Is(err, cloudsqlconn.ErrConfig) {
			t.Fatalf("got %v, want ErrConfig", err)
		}
		for _, want := range []string{"option 0 is nil", "WithMaxConnections", "WithDialTimeout"} {
			if !bytes.Contains([]byte(err.Error()), []byte(want)) {
				t.Errorf("%q is not told in %v", want, err)
			}
		}
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Error("the listener is still open")
		}
	})
}

// Ten connections whose Close takes 300 ms each, as those of a slow proxy: they
// were closed one after the other, with a lock held.
func TestServeCutsAllConnectionsAtOnce(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		const pause = 300 * time.Millisecond
		slow := cloudsqlconn.WithDialFunc(func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := w.DialContext(ctx, network, addr)
			return slowToClose{c, pause}, err
		})
		s := w.serve(testInstance, slow, cloudsqlconn.WithDrainTimeout(-1))
		for range 10 {
			c := s.connect()
			defer c.Close()
			if err := echo(c); err != nil {
				t.Fatal(err)
			}
		}
		s.stop()
		s.wantEnd(pause)
	})
}
