package faults_test

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

var (
	publicOnly = map[cloudsqlconn.IPType]string{cloudsqlconn.PublicIP: "127.9.0.1"}
	movedTo    = map[cloudsqlconn.IPType]string{cloudsqlconn.PublicIP: "127.9.0.2"}
)

// F9
func TestAnAddressTypeThatTheInstanceLacksCostsNothing(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		for range 1000 {
			e := w.wantError(cloudsqlconn.ErrNoAddress, time.Second, cloudsqlconn.WithPSC())
			if want := "cloudsqlconn: dial " + testInstance + ": the instance has no address of the types [PSC]; it has [PRIVATE PUBLIC]"; e.Error() != want || e.Hint == "" {
				t.Fatalf("got %q with hint %q, want %q", e, e.Hint, want)
			}
		}
		w.wantDial(cloudsqlconn.WithPublicIP())
		w.wantCalls(2)
	})
}

// F10
func TestFailingHandshakesDoNotHammerTheAPI(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		w.wantDial()
		_ = w.dialer.Close()
		w.dialer = w.newDialer(cloudsqlconn.WithDialFunc(func(context.Context, string, string) (net.Conn, error) {
			c, s := net.Pipe()
			_ = s.Close()
			return c, nil
		}))
		before := w.calls()
		for range 50 {
			if err := w.dial(time.Second); err == nil {
				t.Fatal("Dial succeeded over a closed connection")
			}
		}
		if n := w.calls() - before; n > 6 {
			t.Errorf("%d Admin API calls, want 6 at the most", n)
		}
	})
}

// F10
func TestConnectionsCutAtTheFirstReadDoNotHammerTheAPI(t *testing.T) {
	cut := func(c net.Conn) { _ = c.(*cloudsqltest.Conn).NetConn().Close() }
	inWorld(t, cloudsqltest.Instance{Handler: cut}, func(t *testing.T, w *world) {
		for range 50 {
			if err := w.dial(time.Second); err == nil {
				t.Fatal("the fault did not happen")
			}
		}
		if n := w.calls(); n > 6 {
			t.Errorf("%d Admin API calls, want 6 at the most", n)
		}
	})
}

// F16
func TestDialFindsAnInstanceThatHasMoved(t *testing.T) {
	old := publicOnly[cloudsqlconn.PublicIP]
	for name, atOldAddress := range map[string]func(w *world){
		"old address refuses":       func(*world) {},
		"old address swallows SYNs": func(w *world) { w.Swallow(old) },
		"old address is silent": func(w *world) {
			w.AddInstance("other:europe-west1:silent", cloudsqltest.Instance{Addrs: publicOnly}).SetBehavior(cloudsqltest.Silent)
		},
		"old address stalls": func(w *world) {
			w.AddInstance("other:europe-west1:stalling", cloudsqltest.Instance{Addrs: publicOnly}).SetBehavior(cloudsqltest.StallHandshake)
		},
		"old address is another instance's": func(w *world) {
			w.AddInstance("other:europe-west1:other", cloudsqltest.Instance{Addrs: publicOnly})
		},
	} {
		t.Run(name, func(t *testing.T) {
			bothStrategies(t, cloudsqltest.Instance{Addrs: publicOnly}, func(t *testing.T, w *world) {
				w.wantDial()
				w.instance.SetAddrs(movedTo)
				atOldAddress(w)
				if d := took(func() { w.wantDial() }); d > 3*time.Second {
					t.Errorf("Dial took %v", d)
				}
				w.wantCalls(4)
			})
		})
	}
}

// A socket's deadline can fire a moment before the context that it comes from.
func TestASocketsDeadlineIsTheCallers(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		d := w.newDialer(cloudsqlconn.WithDialFunc(func(ctx context.Context, network, _ string) (net.Conn, error) {
			deadline, _ := ctx.Deadline()
			time.Sleep(time.Until(deadline))
			return nil, &net.OpError{Op: "dial", Net: network, Err: os.ErrDeadlineExceeded}
		}), cloudsqlconn.WithPublicIP())
		defer d.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := d.Dial(ctx, testInstance); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %v, want both deadline errors", err)
		}
		w.wantCalls(2)
	})
}

// The public address is led elsewhere, the private one is good.
func TestABadAddressDoesNotSpoilAGoodOne(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		addrs := w.instance.Addrs()
		other := w.AddInstance("other:europe-west1:other", cloudsqltest.Instance{Addrs: map[cloudsqlconn.IPType]string{
			cloudsqlconn.PublicIP: addrs[cloudsqlconn.PublicIP],
		}})
		w.wantDial()
		if other.Accepted() == 0 {
			t.Error("the fault did not happen")
		}
		w.wantCalls(2)
	})
}

// DESIGN, rule 7
func TestAnInstanceThatMovesTwiceIsFoundTwice(t *testing.T) {
	bothStrategies(t, cloudsqltest.Instance{Addrs: publicOnly}, func(t *testing.T, w *world) {
		w.wantDial()
		for _, addrs := range []map[cloudsqlconn.IPType]string{movedTo, publicOnly, movedTo} {
			w.instance.SetAddrs(addrs)
			w.wantDial()
		}
		w.wantCalls(8)
	})
}

// F20
func TestAnInstanceThatRefusesConnectionsDoesNotHammerTheAPI(t *testing.T) {
	bothStrategies(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		w.wantDial()
		w.instance.Stop()
		for range 200 {
			e := w.wantError(syscall.ECONNREFUSED, time.Second)
			if e.Op != "dial" || e.Hint == "" {
				t.Fatalf("got op %q, hint %q", e.Op, e.Hint)
			}
		}
		if n := w.calls(); n > 8 {
			t.Errorf("%d Admin API calls, want 8 at the most", n)
		}
		w.instance.Start()
		w.wantDial()
	})
}

// An instance that is restarted again and again: connections are cut before the server
// has said anything, so that none is a proof, and then refused. Each first refusal after
// that waited for another look at the metadata, up to 30 s.
func TestAnInstanceThatCutsAndRefusesConnectionsByTurnsFailsDialsAtOnce(t *testing.T) {
	bothStrategies(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		for range 20 {
			for range 2 {
				c, err := w.dialer.Dial(t.Context(), testInstance)
				if err != nil {
					t.Fatal(err)
				}
				w.instance.CutConnections(true)
				if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
					t.Fatalf("got %v, want a reset", err)
				}
				_ = c.Close()
				time.Sleep(time.Second)
			}
			w.instance.Stop()
			w.wantRefusedAtOnce(2)
			w.instance.Start()
		}
		if n := w.calls(); n > 18 {
			t.Errorf("%d Admin API calls, want 18 at the most", n)
		}
	})
}

// What the metadata was looked at before for, in vain, made a Dial wait.
func TestAnInstanceThatRefusesConnectionsAfterASilenceFailsDialsAtOnce(t *testing.T) {
	bothStrategies(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		w.wantDial()
		w.instance.SetBehavior(cloudsqltest.Unreachable)
		for range 100 {
			_ = w.wantError(context.DeadlineExceeded, 50*time.Millisecond)
			time.Sleep(time.Second)
		}
		before := w.calls()
		w.instance.Stop()
		w.wantRefusedAtOnce(60)
		if n := w.calls() - before; n > 10 {
			t.Errorf("%d Admin API calls, want 10 at the most", n)
		}
	})
}

// wantRefusedAtOnce checks that n Dials, one a second, fail without waiting.
func (w *world) wantRefusedAtOnce(n int) {
	w.t.Helper()
	for range n {
		d := took(func() { _ = w.wantError(syscall.ECONNREFUSED, 20*time.Second) })
		if d > time.Second/2 {
			w.t.Errorf("a Dial that was refused took %v", d)
		}
		time.Sleep(time.Second)
	}
}

// F21, core
func TestAShortDeadlineHoldsAgainstASilentNetwork(t *testing.T) {
	for name, arrange := range map[string]func(w *world){
		"SYNs swallowed":    func(w *world) { w.Swallow(publicOnly[cloudsqlconn.PublicIP]) },
		"accepts, silent":   func(w *world) { w.instance.SetBehavior(cloudsqltest.Silent) },
		"handshake stalled": func(w *world) { w.instance.SetBehavior(cloudsqltest.StallHandshake) },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, cloudsqltest.Instance{Addrs: publicOnly}, func(t *testing.T, w *world) {
				w.wantDial()
				arrange(w)
				const patience = 300 * time.Millisecond
				if d := took(func() { w.wantError(context.DeadlineExceeded, patience) }); d > patience {
					t.Errorf("Dial took %v", d)
				}
				// It says nothing about the instance that the caller was in a hurry.
				w.instance.SetBehavior(cloudsqltest.Healthy)
				w.Restore(publicOnly[cloudsqlconn.PublicIP])
				w.wantDial()
			})
		})
	}
}

// An address that is slow to accept is not given up for a second try that may
// never come.
func TestASlowNetworkGetsAllTheTimeThereIs(t *testing.T) {
	for name, fault := range map[string]*cloudsqltest.Fault{"API up": nil, "API down": {Hang: true}} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
				d := w.newDialer(cloudsqlconn.WithDialFunc(func(ctx context.Context, network, addr string) (net.Conn, error) {
					select {
					case <-time.After(11 * time.Second):
						return w.DialContext(ctx, network, addr)
					case <-ctx.Done():
						return nil, ctx.Err()
					}
				}), cloudsqlconn.WithPublicIP())
				defer d.Close()
				if err := d.Warmup(t.Context(), testInstance); err != nil {
					t.Fatal(err)
				}
				w.fault.Store(fault)
				c, err := d.Dial(context.Background(), testInstance)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if err := echo(c); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A caller with hardly any time has found out nothing. One to whom no answer came
// for a second has.
func TestOnlySilenceSaysSomethingAboutTheInstance(t *testing.T) {
	for _, tt := range []struct {
		patience time.Duration
		calls    int
	}{{10 * time.Millisecond, 2}, {time.Second, 4}} {
		t.Run(tt.patience.String(), func(t *testing.T) {
			inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
				w.wantDial()
				w.instance.SetBehavior(cloudsqltest.Silent)
				accepted := w.instance.Accepted()
				w.wantError(context.DeadlineExceeded, tt.patience)
				if w.instance.Accepted() == accepted {
					t.Fatal("the fault did not happen")
				}
				time.Sleep(time.Second)
				w.wantCalls(tt.calls)
			})
		})
	}
}

// F33
func TestAnAddressThatHangsLeavesTimeForTheNext(t *testing.T) {
	addrs := map[cloudsqlconn.IPType]string{cloudsqlconn.PublicIP: "127.9.0.1", cloudsqlconn.PrivateIP: "127.9.0.2", cloudsqlconn.PSC: "a.b.europe-west1.sql-psc.goog"}
	inWorld(t, cloudsqltest.Instance{Addrs: addrs}, func(t *testing.T, w *world) {
		w.Swallow("127.9.0.1")
		if d := took(func() { w.wantDial() }); d > 250*time.Millisecond {
			t.Errorf("Dial took %v", d)
		}
		w.Swallow("127.9.0.2")
		w.wantDial(cloudsqlconn.WithIPTypes(cloudsqlconn.PrivateIP, cloudsqlconn.PSC))
		w.wantCalls(2)
		if w.Restore("127.9.0.1") == 0 || w.Restore("127.9.0.2") == 0 {
			t.Error("the fault did not happen")
		}
	})
}

func TestAddressesAreTriedInTheCallersOrder(t *testing.T) {
	var mu sync.Mutex
	var dialled []string
	addrs := map[cloudsqlconn.IPType]string{cloudsqlconn.PublicIP: "127.9.0.1", cloudsqlconn.PrivateIP: "127.9.0.2", cloudsqlconn.PSC: "a.b.europe-west1.sql-psc.goog"}
	inWorld(t, cloudsqltest.Instance{Addrs: addrs}, func(t *testing.T, w *world) {
		d := w.newDialer(cloudsqlconn.WithDialFunc(func(_ context.Context, _, addr string) (net.Conn, error) {
			mu.Lock()
			defer mu.Unlock()
			dialled = append(dialled, addr)
			return nil, syscall.EHOSTUNREACH
		}))
		defer d.Close()
		for _, tt := range []struct {
			opt  cloudsqlconn.DialOption
			want []string
		}{
			{cloudsqlconn.WithAutoIP(), []string{"127.9.0.1:3307", "127.9.0.2:3307", "a.b.europe-west1.sql-psc.goog:3307"}},
			{cloudsqlconn.WithPublicIP(), []string{"127.9.0.1:3307"}},
			{cloudsqlconn.WithPrivateIP(), []string{"127.9.0.2:3307"}},
			{cloudsqlconn.WithPSC(), []string{"a.b.europe-west1.sql-psc.goog:3307"}},
			{cloudsqlconn.WithIPTypes(cloudsqlconn.PrivateIP, cloudsqlconn.PublicIP), []string{"127.9.0.2:3307", "127.9.0.1:3307"}},
		} {
			dialled = nil
			if _, err := d.Dial(t.Context(), testInstance, tt.opt); !errors.Is(err, syscall.EHOSTUNREACH) {
				t.Fatalf("got error %v", err)
			}
			// The second try, with fresh metadata, repeats the list.
			if got := dialled[:len(tt.want)]; !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		}
	})
}

// F37
func TestDialEndsByItself(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		w.instance.SetBehavior(cloudsqltest.Silent)
		var err error
		d := took(func() { _, err = w.dialer.Dial(context.Background(), testInstance) })
		if d != 30*time.Second || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Dial ended after %v with %v", d, err)
		}
		if w.instance.Accepted() == 0 {
			t.Error("the fault did not happen")
		}
		// A handshake without end does say something about the instance.
		time.Sleep(time.Second)
		w.wantCalls(4)
		d = took(func() {
			_, err = w.dialer.Dial(context.Background(), testInstance, cloudsqlconn.WithDialTimeout(time.Second))
		})
		if d != time.Second || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Dial ended after %v with %v", d, err)
		}
	})
}

// F29
func TestAConnectionIsCountedAndClosedOnce(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		c, err := w.dialer.Dial(t.Context(), testInstance)
		if err != nil {
			t.Fatal(err)
		}
		if err := echo(c); err != nil {
			t.Fatal(err)
		}
		st := w.dialer.Instances()[0]
		if st.OpenConnections != 1 || st.BytesRead != 5 || st.BytesWritten != 5 {
			t.Errorf("got %d open, %d read, %d written; want 1, 5, 5", st.OpenConnections, st.BytesRead, st.BytesWritten)
		}
		if err := c.Close(); err != nil {
			t.Errorf("first Close: %v", err)
		}
		if err := c.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("second Close: got %v, want net.ErrClosed", err)
		}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Read: got %v, want net.ErrClosed", err)
		}
		if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Write: got %v, want net.ErrClosed", err)
		}
		if n := w.dialer.Instances()[0].OpenConnections; n != 0 {
			t.Errorf("%d open connections, want 0", n)
		}
		w.wantCalls(2)
	})
}

func TestHalfCloseReachesTheServer(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		c, err := w.dialer.Dial(t.Context(), testInstance)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := echo(c); err != nil {
			t.Fatal(err)
		}
		if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		// The echo handler returns at the end of its input.
		if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, net.ErrClosed) {
			t.Errorf("Read after half-close: %d, %v", n, err)
		}
	})
}
