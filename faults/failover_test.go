package faults_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

const (
	testDomain    = "db.example.com"
	otherInstance = "my-project:europe-west1:other-db"
)

// names is a Resolver whose one DNS name leads where a test says.
type names struct {
	mu      sync.Mutex // guards everything below
	leadsTo cloudsqlconn.Name
	err     error
	lookups int
}

func (n *names) Resolve(_ context.Context, domain string) (cloudsqlconn.Resolution, error) {
	if direct, err := cloudsqlconn.ParseName(domain); err == nil {
		return cloudsqlconn.Resolution{Instance: direct}, nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lookups++
	return cloudsqlconn.Resolution{Instance: n.leadsTo, Domain: domain}, n.err
}

// set makes the name lead to an instance, or its look-up fail.
func (n *names) set(instance string, err error) {
	name, parseErr := cloudsqlconn.ParseName(instance)
	if parseErr != nil {
		panic(parseErr)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.leadsTo, n.err, n.lookups = name, err, 0
}

// wantLookups checks how many look-ups there were since set.
func (n *names) wantLookups(t *testing.T, want int) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.lookups != want {
		t.Errorf("%d look-ups, want %d", n.lookups, want)
	}
}

// inFailoverWorld has two instances, and a name that leads to the first.
func inFailoverWorld(t *testing.T, test func(t *testing.T, w *world, n *names), opts ...cloudsqlconn.Option) {
	t.Helper()
	n := &names{}
	n.set(testInstance, nil)
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		w.AddInstance(otherInstance, cloudsqltest.Instance{})
		test(t, w, n)
	}, append(opts, cloudsqlconn.WithResolver(n))...)
}

// wantConn dials the name.
func (w *world) wantConn(name string) net.Conn {
	w.t.Helper()
	c, err := w.dialer.Dial(w.t.Context(), name)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.Close() })
	if err := echo(c); err != nil {
		w.t.Fatal(err)
	}
	return c
}

// F32
func TestFailoverClosesTheConnectionsToTheOldInstance(t *testing.T) {
	inFailoverWorld(t, func(t *testing.T, w *world, n *names) {
		old, direct := w.wantConn(testDomain), w.wantConn(testInstance)
		n.set(otherInstance, nil)
		switched := time.Now()

		fresh := w.wantConn("DB.Example.com.") // the very next Dial
		if w.instance.Accepted() != 2 {
			t.Error("the next Dial went to the old instance")
		}
		_, err := old.Read(make([]byte, 1))
		if took := time.Since(switched); took > 30*time.Second {
			t.Errorf("the old connection was closed after %v", took)
		}
		var e *cloudsqlconn.Error
		if !errors.As(err, &e) || e.Op != "resolve" || e.Instance != testInstance || !errors.Is(err, net.ErrClosed) {
			t.Errorf("Read of the old connection: %v", err)
		}
		if _, err := old.Write([]byte("x")); !errors.As(err, &e) {
			t.Errorf("Write to the old connection: %v", err)
		}
		_ = old.Close()
		if err := echo(fresh); err != nil {
			t.Errorf("the new connection: %v", err)
		}
		if err := echo(direct); err != nil {
			t.Errorf("a connection dialled by the instance's own name: %v", err)
		}
	})
}

// F31
func TestAFailedLookUpClosesNothing(t *testing.T) {
	inFailoverWorld(t, func(t *testing.T, w *world, n *names) {
		c := w.wantConn(testDomain)
		n.set(otherInstance, &net.DNSError{Err: "no such host", Name: testDomain, IsNotFound: true})
		time.Sleep(10*time.Minute + time.Second)
		n.wantLookups(t, 20)
		if err := echo(c); err != nil {
			t.Error(err)
		}
	})
}

func TestNamesWithoutOpenConnectionsAreNotLookedUp(t *testing.T) {
	inFailoverWorld(t, func(t *testing.T, w *world, n *names) {
		first, second := w.wantConn(testDomain), w.wantConn(testDomain)
		n.set(testInstance, nil)
		_ = first.Close()
		time.Sleep(time.Minute + time.Second)
		n.wantLookups(t, 2)
		_ = second.Close()
		time.Sleep(time.Hour)
		n.wantLookups(t, 2)
		third := w.wantConn(testDomain)
		time.Sleep(time.Minute + time.Second)
		n.wantLookups(t, 5)
		if err := w.dialer.Close(); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Hour)
		n.wantLookups(t, 5)
		if err := echo(third); err != nil {
			t.Errorf("the Dialer's Close hurt a connection: %v", err)
		}
	})
}

// F30
func TestANegativeFailoverPeriodMeansOnlyAtDial(t *testing.T) {
	inFailoverWorld(t, func(t *testing.T, w *world, n *names) {
		old := w.wantConn(testDomain)
		n.set(otherInstance, nil)
		time.Sleep(time.Hour)
		n.wantLookups(t, 0)
		if err := echo(old); err != nil {
			t.Fatal(err)
		}
		w.wantConn(testDomain)
		if _, err := io.ReadAll(old); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Read of the old connection after a Dial: %v", err)
		}
	}, cloudsqlconn.WithFailoverPeriod(-1))
}

func TestTheFailoverPeriodCanBeSet(t *testing.T) {
	inFailoverWorld(t, func(t *testing.T, w *world, n *names) {
		w.wantConn(testDomain)
		time.Sleep(10*time.Second + time.Millisecond)
		n.wantLookups(t, 11)
	}, cloudsqlconn.WithFailoverPeriod(time.Second))
}

func TestCloseEndsALookUpInProgress(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		name, err := cloudsqlconn.ParseName(testInstance)
		if err != nil {
			t.Fatal(err)
		}
		var asked atomic.Int64
		_ = w.dialer.Close()
		w.dialer = w.newDialer(cloudsqlconn.WithResolver(ctxResolver(func(ctx context.Context, domain string) (cloudsqlconn.Resolution, error) {
			if asked.Add(1) > 1 {
				<-ctx.Done()
			}
			return cloudsqlconn.Resolution{Instance: name, Domain: domain}, ctx.Err()
		})))
		c := w.wantConn(testDomain)
		time.Sleep(31 * time.Second)
		if asked.Load() != 2 {
			t.Fatalf("asked %d times", asked.Load())
		}
		if d := took(func() { _ = w.dialer.Close() }); d != 0 {
			t.Errorf("Close took %v", d)
		}
		if err := echo(c); err != nil {
			t.Error(err)
		}
	})
}

type ctxResolver func(context.Context, string) (cloudsqlconn.Resolution, error)

func (f ctxResolver) Resolve(ctx context.Context, name string) (cloudsqlconn.Resolution, error) {
	return f(ctx, name)
}

// A Close that takes its time, as of a connection through an SSH client: it held
// up the Dials of all other names, since it happened under a lock, one after the
// other (10 connections of 300 ms: 2.5 s).
func TestCuttingConnectionsHoldsNobodyUp(t *testing.T) {
	inDNSWorld(t, func(t *testing.T, w *world, dns *cloudsqltest.DNS) {
		const pause = 300 * time.Millisecond
		dns.SetTXT("other.example.com", testInstance)
		slow := cloudsqlconn.WithDialFunc(func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := w.DialContext(ctx, network, addr)
			return slowToClose{c, pause}, err
		})
		var open []net.Conn
		for range 10 {
			c, err := w.dialer.Dial(t.Context(), testDomain, slow)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			open = append(open, c)
		}
		dns.SetTXT(testDomain, otherInstance)
		if d := took(func() { w.wantConn(testDomain) }); d > 0 {
			t.Errorf("the Dial that finds out took %v", d)
		}
		if d := took(func() { w.wantConn("other.example.com") }); d > 0 {
			t.Errorf("a Dial of another name took %v", d)
		}
		d := took(func() {
			for _, c := range open {
				if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
					t.Errorf("an old connection: %v", err)
				}
			}
		})
		if d != pause { // all at once
			t.Errorf("it took %v until the old connections were closed", d)
		}
	}, cloudsqlconn.WithFailoverPeriod(-1))
}

type slowToClose struct {
	net.Conn
	pause time.Duration
}

func (c slowToClose) Close() error {
	time.Sleep(c.pause)
	return c.Conn.Close()
}
