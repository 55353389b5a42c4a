package faults_test

import (
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// open connects to name, and leaves the connection open until the test ends.
func (w *world) open(name string, opts ...cloudsqlconn.DialOption) net.Conn {
	w.t.Helper()
	c, err := w.dialer.Dial(w.t.Context(), name, opts...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.Close() })
	if err := echo(c); err != nil {
		w.t.Fatal(err)
	}
	return c
}

func TestTheSameHostIsDialledWhicheverNodesTurnItIs(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{Nodes: make([]cloudsqltest.Node, 3)}, func(t *testing.T, w *world) {
		for range 3 {
			before := w.handshakes()
			c := w.open(testInstance)
			on := 0 // the node of c
			for i, n := range w.handshakes() {
				if n > before[i] {
					on = i
				}
			}
			before = w.handshakes()
			_ = c.Close() // where it was is still known
			for range 4 {
				w.wantDial(cloudsqlconn.WithSameHost(c))
			}
			for i, n := range w.handshakes() {
				want := 0
				if i == on {
					want = 4
				}
				if n-before[i] != want {
					t.Errorf("node %d has %d connections more, want %d", i, n-before[i], want)
				}
			}
		}
	})
}

func TestNoOtherHostIsDialledThanTheSame(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{Nodes: make([]cloudsqltest.Node, 3)}, func(t *testing.T, w *world) {
		c := w.open(testInstance)
		before := w.handshakes()
		for i, n := range before {
			if n > 0 {
				w.instance.Nodes()[i].Stop()
			}
		}
		_, err := w.dialer.Dial(t.Context(), testInstance, cloudsqlconn.WithSameHost(c))
		var e *cloudsqlconn.Error
		if !errors.As(err, &e) || e.Op != "dial" {
			t.Errorf("got %v", err)
		}
		for i, n := range w.handshakes() {
			if n != before[i] {
				t.Errorf("node %d was dialled", i)
			}
		}
		w.wantDial() // the others serve
	})
}

// The cancel request of an old connection must not go to another instance, nor
// cost that one's certificate.
func TestTheSameHostIsThatOfTheOldInstanceThoughTheNameHasMoved(t *testing.T) {
	const other = "my-project:europe-west1:other-db"
	var moved atomic.Bool
	resolver := resolverFunc(func(string) (cloudsqlconn.Resolution, error) {
		instance := testInstance
		if moved.Load() {
			instance = other
		}
		n, err := cloudsqlconn.ParseName(instance)
		return cloudsqlconn.Resolution{Instance: n}, err
	})
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		second := w.AddInstance(other, cloudsqltest.Instance{})
		c := w.open("db.example.com")
		moved.Store(true)
		for _, name := range []string{"db.example.com", testInstance} {
			again := w.open(name, cloudsqlconn.WithSameHost(c))
			if info, ok := cloudsqlconn.InfoOf(again); !ok || info.Instance.String() != testInstance {
				t.Errorf("%s led to %+v", name, info)
			}
		}
		if second.Accepted() != 0 {
			t.Error("the other instance was dialled")
		}
		w.open("db.example.com")
		if second.Accepted() != 1 {
			t.Error("the fault did not happen: the name has not moved")
		}
	}, cloudsqlconn.WithResolver(resolver))
}

func TestTheSameHostOfWhat(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		c := w.open(testInstance)
		stranger, end := net.Pipe()
		defer stranger.Close()
		defer end.Close()
		for want, dial := range map[string]func() (net.Conn, error){
			"another name": func() (net.Conn, error) {
				return w.dialer.Dial(t.Context(), "my-project:europe-west1:other-db", cloudsqlconn.WithSameHost(c))
			},
			"got a *net.pipe": func() (net.Conn, error) {
				return w.dialer.Dial(t.Context(), testInstance, cloudsqlconn.WithSameHost(stranger))
			},
			"got a <nil>": func() (net.Conn, error) {
				return w.dialer.Dial(t.Context(), testInstance, cloudsqlconn.WithSameHost(nil))
			},
		} {
			if _, err := dial(); !errors.Is(err, cloudsqlconn.ErrConfig) || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want one that tells %q", err, want)
			}
		}
		_ = w.dialer.Close()
		if _, err := w.dialer.Dial(t.Context(), testInstance, cloudsqlconn.WithSameHost(c)); !errors.Is(err, cloudsqlconn.ErrDialerClosed) {
			t.Errorf("got %v", err)
		}
	})
}

func TestAStreamHasNoHost(t *testing.T) {
	inSQLDataWorld(t, cloudsqlconn.SQLDataOnly, echoes, func(t *testing.T, w *world, s *sqlDataService) {
		c := w.open(testInstance)
		w.open(testInstance, cloudsqlconn.WithSameHost(c))
		s.wantStreams(2)
		w.wantCalls(0)
	})
}

// A connection that goes on by an address has a host from then on.
func TestTheSameHostOfAConnectionThatSQLDataHasRefusedLate(t *testing.T) {
	late := func(s *sqlDataStream) error {
		if err := s.accept(); err != nil {
			return err
		}
		return unservedScript(s)
	}
	inSQLDataWorld(t, cloudsqlconn.SQLDataPrefer, late, func(t *testing.T, w *world, s *sqlDataService) {
		c := w.open(testInstance)
		before := w.instance.Counts().Handshakes
		if before == 0 {
			t.Fatal("the fault did not happen: no address was taken")
		}
		w.open(testInstance, cloudsqlconn.WithSameHost(c))
		s.wantStreams(1)
		if n := w.instance.Counts().Handshakes - before; n != 1 {
			t.Errorf("%d connections by an address, want 1", n)
		}
	})
}
