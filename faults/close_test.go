package faults_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// F28
func TestCloseEndsDialsWhereverTheyAre(t *testing.T) {
	for name, arrange := range map[string]func(w *world){
		"refresh":   func(w *world) { w.fault.Store(&cloudsqltest.Fault{Hang: true}) },
		"pause":     func(w *world) { w.fault.Store(status(503)) },
		"TCP":       func(w *world) { w.Swallow(publicOnly[cloudsqlconn.PublicIP]) },
		"handshake": func(w *world) { w.instance.SetBehavior(cloudsqltest.Silent) },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, cloudsqltest.Instance{Addrs: publicOnly}, func(t *testing.T, w *world) {
				arrange(w)
				errs := make(chan error)
				for range 50 {
					go func() {
						_, err := w.dialer.Dial(context.Background(), testInstance)
						errs <- err
					}()
				}
				time.Sleep(5 * time.Second)
				if d := took(func() {
					if err := w.dialer.Close(); err != nil {
						t.Error(err)
					}
				}); d > 0 {
					t.Errorf("Close took %v", d)
				}
				for range 50 {
					if err := <-errs; !errors.Is(err, cloudsqlconn.ErrDialerClosed) {
						t.Errorf("Dial: got %v, want ErrDialerClosed", err)
					}
				}
			})
		})
	}
}

// F28
func TestCloseFromManyGoroutines(t *testing.T) {
	bothStrategies(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		w.wantDial()
		parallel(100, func(int) {
			if err := w.dialer.Close(); err != nil {
				t.Error(err)
			}
		})
		calls := w.calls()
		time.Sleep(24 * time.Hour)
		w.wantCalls(calls)
	})
}

// F28
func TestEveryMethodAfterCloseReturnsErrDialerClosed(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		open, err := w.dialer.Dial(t.Context(), testInstance)
		if err != nil {
			t.Fatal(err)
		}
		defer open.Close()
		_ = w.dialer.Close()
		_, dialErr := w.dialer.Dial(t.Context(), testInstance)
		_, versionErr := w.dialer.EngineVersion(t.Context(), testInstance)
		for method, err := range map[string]error{
			"Dial": dialErr, "EngineVersion": versionErr, "Warmup": w.dialer.Warmup(t.Context(), testInstance),
		} {
			if !errors.Is(err, cloudsqlconn.ErrDialerClosed) {
				t.Errorf("%s: got %v, want ErrDialerClosed", method, err)
			}
		}
		if n := len(w.dialer.Instances()); n != 0 {
			t.Errorf("Instances: %d entries, want none", n)
		}
		if err := echo(open); err != nil {
			t.Errorf("a connection that was open at Close: %v", err)
		}
	})
}

// F36
func TestOpenConnectionsCostNoGoroutines(t *testing.T) {
	inQuietWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		const n = 200
		w.wantDial()
		synctest.Wait()
		before := runtime.NumGoroutine()
		for range n {
			c, err := w.dialer.Dial(t.Context(), testInstance)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
		}
		time.Sleep(time.Minute)
		// One goroutine for each connection is the kit's.
		if more := runtime.NumGoroutine() - before; more > n {
			t.Errorf("%d connections added %d goroutines, %d of them the server's", n, more, n)
		}
		if got := w.dialer.Instances()[0].OpenConnections; got != n {
			t.Errorf("%d open connections, want %d", got, n)
		}
	})
}

// DESIGN, rule 8
func TestInstancesThatNobodyDialsAreLetGo(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		warm := func(prefix string) {
			for i := range 70 {
				name := "my-project:europe-west1:" + prefix + string(rune('a'+i/26)) + string(rune('a'+i%26))
				w.AddInstance(name, cloudsqltest.Instance{})
				if err := w.dialer.Warmup(t.Context(), name); err != nil {
					t.Fatal(err)
				}
			}
		}
		warm("old")
		time.Sleep(5 * time.Hour)
		calls := w.calls()
		time.Sleep(5 * time.Hour)
		w.wantCalls(calls) // nobody asks, nobody is refreshed
		warm("new")
		warm("newer")
		if n := len(w.dialer.Instances()); n != 140 {
			t.Errorf("%d instances are kept, want the 140 that were dialled lately", n)
		}
	})
}
