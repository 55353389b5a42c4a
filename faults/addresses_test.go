package faults_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// stagger is how long an address is waited for before the next is tried.
const stagger = 250 * time.Millisecond

const (
	publicHost  = "127.9.0.1"
	privateHost = "127.9.0.2"
	pscHost     = "a.b.europe-west1.sql-psc.goog"
)

var threeAddrs = map[cloudsqlconn.IPType]string{
	cloudsqlconn.PublicIP: publicHost, cloudsqlconn.PrivateIP: privateHost, cloudsqlconn.PSC: pscHost,
}

// A program in a VPC network without a way to the internet, and an instance with
// both addresses: each Dial took 5 s, for ever, and a pool of 20 connections all
// of them.
func TestASilentAddressCostsAMomentOnceInTenMinutes(t *testing.T) {
	bothStrategies(t, cloudsqltest.Instance{Addrs: threeAddrs}, func(t *testing.T, w *world) {
		n := &network{w: w}
		dial := func() time.Duration { return took(func() { w.wantDial(n.option()) }) }
		w.Swallow(publicHost)

		if d := dial(); d != stagger {
			t.Errorf("the first Dial took %v", d)
		}
		n.want("the first Dial", publicHost, privateHost)
		if log := w.told.all(); !strings.Contains(log, "does not answer") || !strings.Contains(log, publicHost) {
			t.Errorf("the log does not tell: %s", log)
		}
		for range 20 {
			if d := dial(); d != 0 {
				t.Errorf("a later Dial took %v", d)
			}
			n.want("a later Dial", privateHost)
		}
		w.wantCalls(2)

		time.Sleep(10 * time.Minute)
		if d := dial(); d != stagger {
			t.Errorf("after ten minutes, a Dial took %v", d)
		}
		n.want("after ten minutes, a Dial", publicHost, privateHost)
		if w.Restore(publicHost) == 0 {
			t.Error("the fault did not happen")
		}
		time.Sleep(10 * time.Minute)
		if d := dial(); d != 0 {
			t.Errorf("once the address answers, a Dial took %v", d)
		}
		n.want("once the address answers, a Dial", publicHost)
	})
}

// A pool that opens 20 connections at once.
func TestASilentAddressHoldsNobodyUp(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{Addrs: threeAddrs}, func(t *testing.T, w *world) {
		w.Swallow(publicHost)
		w.Swallow(privateHost)
		d := took(func() {
			parallel(20, func(int) {
				if err := w.dial(time.Minute); err != nil {
					t.Error(err)
				}
			})
		})
		if d != 2*stagger {
			t.Errorf("the Dials took %v", d)
		}
		if w.Restore(publicHost) == 0 || w.Restore(privateHost) == 0 {
			t.Error("the fault did not happen")
		}
	})
}

// 200 ms are less than the pause before the second address.
func TestACallerWithLittleTimeReachesTheSecondAddress(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{Addrs: threeAddrs}, func(t *testing.T, w *world) {
		w.Swallow(publicHost)
		for range 3 {
			if err := w.dial(200 * time.Millisecond); err != nil {
				t.Error(err)
			}
		}
		if w.Restore(publicHost) == 0 {
			t.Error("the fault did not happen")
		}
	})
}

func TestWhatIsKnownOfAddressesEndsWithTheMetadata(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{Addrs: threeAddrs}, func(t *testing.T, w *world) {
		n := &network{w: w}
		w.Swallow(publicHost)
		w.wantDial(n.option())
		w.wantDial(n.option())
		n.want("two Dials", publicHost, privateHost, privateHost)
		w.Restore(publicHost)
		w.instance.RotateServerCA()
		w.wantDial(n.option()) // finds the new CA
		n.take()
		w.wantDial(n.option())
		n.want("a Dial with new metadata", publicHost)
	})
}

// Another server answers at the public address: a NAT rule, a wrong route.
func TestAnAddressThatLeadsAstrayComesLast(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{Addrs: threeAddrs}, func(t *testing.T, w *world) {
		other := w.AddInstance(otherInstance, cloudsqltest.Instance{Addrs: publicOnly})
		n := &network{w: w}
		w.wantDial(n.option())
		w.wantDial(n.option())
		n.want("two Dials", publicHost, privateHost, privateHost)
		if other.Accepted() != 1 {
			t.Errorf("%d connections to the other server, want 1", other.Accepted())
		}
		w.wantCalls(2)
	})
}

// Of two connections that stand, one gets a TLS handshake, and the other is
// closed without a byte.
func TestTLSIsSpokenOnTheWinnerOnly(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{Addrs: threeAddrs}, func(t *testing.T, w *world) {
		n := &network{w: w}
		began := time.Now()
		together := cloudsqlconn.WithDialFunc(func(ctx context.Context, network, addr string) (net.Conn, error) {
			time.Sleep(time.Until(began.Add(3 * stagger))) // all are under way by then
			return n.dial(context.WithoutCancel(ctx), network, addr)
		})
		c, err := w.dialer.Dial(t.Context(), testInstance, together)
		if err != nil {
			t.Fatal(err)
		}
		if err := echo(c); err != nil {
			t.Error(err)
		}
		_ = c.Close()
		time.Sleep(time.Second)
		n.mu.Lock()
		defer n.mu.Unlock()
		wrote := 0
		for _, c := range n.conns {
			if c.wrote.Load() {
				wrote++
			}
			if !c.closed.Load() {
				t.Errorf("the connection to %v is still open", c.RemoteAddr())
			}
		}
		if len(n.conns) != 3 || wrote != 1 {
			t.Errorf("%d connections, %d of them were written to", len(n.conns), wrote)
		}
	})
}

// A TLS handshake that hangs leaves time for the next address.
func TestAHandshakeThatHangsLeavesTimeForTheNextAddress(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{Addrs: threeAddrs}, func(t *testing.T, w *world) {
		hangs := w.AddInstance(otherInstance, cloudsqltest.Instance{Addrs: publicOnly})
		hangs.SetBehavior(cloudsqltest.StallHandshake)
		n := &network{w: w}
		w.wantDial(n.option())
		n.want("the first Dial", publicHost, privateHost)
		if hangs.Counts().Stalled == 0 {
			t.Error("the fault did not happen")
		}
		if d := took(func() { w.wantDial(n.option()) }); d != 0 {
			t.Errorf("the second Dial took %v", d)
		}
		n.want("the second Dial", privateHost)
	})
}

func TestSilentNodesOfAReadPoolComeLast(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{Nodes: make([]cloudsqltest.Node, 3)}, func(t *testing.T, w *world) {
		silent := w.instance.Nodes()[1]
		silent.SetBehavior(cloudsqltest.Unreachable)
		slow := 0
		for range 12 {
			if took(func() { w.wantDial(cloudsqlconn.WithPrivateIP()) }) > 0 {
				slow++
			}
		}
		if n := silent.Counts().Swallowed; n != 1 || slow != 1 {
			t.Errorf("the silent node was tried %d times, and %d of 12 Dials were slow", n, slow)
		}
		w.wantCalls(2)
	})
}

// What DNS gives and what the metadata has can be the same address, written in
// another way: two silent SYNs, 10 s for 5 s.
func TestAnAddressIsTriedOnce(t *testing.T) {
	addrs := map[cloudsqlconn.IPType]string{cloudsqlconn.PublicIP: "2001:db8::1", cloudsqlconn.PrivateIP: privateHost}
	inWorldWithNames(t, cloudsqltest.Instance{Addrs: addrs}, func(t *testing.T, w *world, dns *cloudsqltest.DNS) {
		dns.SetHost(testDomain, "::ffff:"+privateHost, "2001:db8:0::1")
		refuse := cloudsqlconn.WithDialFunc(func(context.Context, string, string) (net.Conn, error) { return nil, syscall.EHOSTUNREACH })
		_, err := w.dialer.Dial(t.Context(), testDomain, refuse)
		var attempts int
		for e := range each(err) {
			if e == syscall.EHOSTUNREACH {
				attempts++
			}
		}
		if attempts != 2 {
			t.Errorf("%d attempts in %v, want 2", attempts, err)
		}
	})
}

// An address that had used up its share made errors.Is find DeadlineExceeded,
// and Timeout report true, although the caller had time left and another address
// refused.
func TestTheEndOfAShareIsNotTheEndOfTheCallersTime(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{Addrs: threeAddrs}, func(t *testing.T, w *world) {
		w.Swallow(publicHost)
		w.wantDial() // finds out that it is silent
		w.instance.Stop()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := w.dialer.Dial(ctx, testInstance, cloudsqlconn.WithDialTimeout(time.Minute))
		if !errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			t.Errorf("got %v", err)
		}
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			t.Errorf("%v passes for a timeout", err)
		}
	})
}

// The last address to try has all the time there is, if it has not been silent
// before.
func TestASlowAddressIsWaitedFor(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{Addrs: threeAddrs}, func(t *testing.T, w *world) {
		slow := cloudsqlconn.WithDialFunc(func(ctx context.Context, network, addr string) (net.Conn, error) {
			if host, _, _ := net.SplitHostPort(addr); host != pscHost {
				return nil, syscall.ECONNREFUSED
			}
			select {
			case <-time.After(7 * time.Second): // three SYNs were lost
				return w.DialContext(ctx, network, addr)
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})
		if err := w.dial(20*time.Second, slow); err != nil {
			t.Error(err)
		}
	})
}

// The server's part of the handshake takes 6 s, and the other address is silent.
func TestASlowHandshakeIsWaitedFor(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{Addrs: threeAddrs}, func(t *testing.T, w *world) {
		w.Swallow(publicHost)
		slow := cloudsqlconn.WithDialFunc(func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := w.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &slowToSpeak{Conn: c, pause: 6 * time.Second}, nil
		})
		for range 2 {
			if err := w.dial(20*time.Second, slow, cloudsqlconn.WithIPTypes(cloudsqlconn.PublicIP, cloudsqlconn.PrivateIP)); err != nil {
				t.Error(err)
			}
		}
		if w.Restore(publicHost) == 0 {
			t.Error("the fault did not happen")
		}
	})
}

// slowToSpeak is a connection whose first Read takes its time.
type slowToSpeak struct {
	net.Conn
	pause time.Duration
	once  sync.Once
}

func (c *slowToSpeak) Read(b []byte) (int, error) {
	c.once.Do(func() { time.Sleep(c.pause) })
	return c.Conn.Read(b)
}

// One request that was aborted sent all others over the internet for ten minutes.
func TestACallerWhoGoesTurnsNoOrderRound(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{Addrs: threeAddrs}, func(t *testing.T, w *world) {
		n := &network{w: w, delay: 40 * time.Millisecond}
		order := cloudsqlconn.WithIPTypes(cloudsqlconn.PrivateIP, cloudsqlconn.PublicIP)
		w.wantDial(n.option(), order)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(30*time.Millisecond, cancel)
		if _, err := w.dialer.Dial(ctx, testInstance, n.option(), order); !errors.Is(err, context.Canceled) {
			t.Fatalf("the fault did not happen: %v", err)
		}
		n.take()
		w.wantDial(n.option(), order)
		n.want("the next Dial", privateHost)
		w.wantCalls(2)
	})
}

// An instance that gets one more address has not moved.
func TestANewAddressDisturbsNoDial(t *testing.T) {
	private := map[cloudsqlconn.IPType]string{cloudsqlconn.PrivateIP: privateHost}
	inWorld(t, cloudsqltest.Instance{Addrs: private}, func(t *testing.T, w *world) {
		n := &network{w: w, delay: 3 * time.Second}
		if err := w.dialer.Warmup(t.Context(), testInstance); err != nil {
			t.Fatal(err)
		}
		w.instance.SetAddrs(map[cloudsqlconn.IPType]string{cloudsqlconn.PrivateIP: privateHost, cloudsqlconn.PublicIP: publicHost})
		w.wantDial(n.option()) // looks after 2 s
		n.want("the Dial", privateHost)
		w.wantCalls(4)
		w.wantDial(n.option(), cloudsqlconn.WithPublicIP())
	})
}

// each are all errors in the tree of err.
func each(err error) func(func(error) bool) {
	return func(yield func(error) bool) {
		var walk func(error) bool
		walk = func(err error) bool {
			if err == nil || !yield(err) {
				return err == nil
			}
			switch e := err.(type) {
			case interface{ Unwrap() error }:
				return walk(e.Unwrap())
			case interface{ Unwrap() []error }:
				return !slices.ContainsFunc(e.Unwrap(), func(err error) bool { return !walk(err) })
			}
			return true
		}
		walk(err)
	}
}
