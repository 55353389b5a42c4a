package faults_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// silences are what can be at the address that an instance has left.
var silences = map[string]func(w *world, host string){
	"swallows SYNs": func(w *world, host string) { w.Swallow(host) },
	"accepts, and is silent": func(w *world, host string) {
		at := map[cloudsqlconn.IPType]string{cloudsqlconn.PublicIP: host}
		w.AddInstance("other:europe-west1:silent", cloudsqltest.Instance{Addrs: at}).SetBehavior(cloudsqltest.Silent)
	},
	"stalls the handshake": func(w *world, host string) {
		at := map[cloudsqlconn.IPType]string{cloudsqlconn.PublicIP: host}
		w.AddInstance("other:europe-west1:stalling", cloudsqltest.Instance{Addrs: at}).SetBehavior(cloudsqltest.StallHandshake)
	},
}

// Callers with 2 s and less failed for ever, without one API call, until the next
// regular refresh: up to half an hour.
func TestCallersWithLittleTimeFindAnInstanceThatHasMoved(t *testing.T) {
	for name, silence := range silences {
		for _, patience := range []time.Duration{100 * time.Millisecond, 500 * time.Millisecond, 1900 * time.Millisecond, 2 * time.Second} {
			t.Run(name+", "+patience.String(), func(t *testing.T) {
				bothStrategies(t, cloudsqltest.Instance{Addrs: publicOnly}, func(t *testing.T, w *world) {
					w.wantDial()
					w.instance.SetAddrs(movedTo)
					silence(w, publicHost)
					w.fault.Store(&cloudsqltest.Fault{Delay: 50 * time.Millisecond})
					var failed int
					for w.dial(patience) != nil {
						if failed++; failed == 3 {
							t.Fatal("the third Dial failed, too")
						}
						time.Sleep(100 * time.Millisecond)
					}
					if failed > 1 {
						t.Errorf("%d Dials failed", failed)
					}
					w.wantCalls(4)
				})
			})
		}
	}
}

// A service under load: each request has half a second.
func TestManyCallersWithLittleTimeFindAnInstanceThatHasMoved(t *testing.T) {
	for name, silence := range silences {
		t.Run(name, func(t *testing.T) {
			inWorld(t, cloudsqltest.Instance{Addrs: publicOnly}, func(t *testing.T, w *world) {
				w.wantDial()
				w.instance.SetAddrs(movedTo)
				silence(w, publicHost)
				w.fault.Store(&cloudsqltest.Fault{Delay: 50 * time.Millisecond})
				began := time.Now()
				var wg sync.WaitGroup
				var mu sync.Mutex
				failed, last := 0, time.Duration(0) // when the last of those began
				for range 50 {
					wg.Go(func() {
						start := time.Since(began)
						if err := w.dial(500 * time.Millisecond); err != nil {
							mu.Lock()
							defer mu.Unlock()
							failed, last = failed+1, max(last, start)
						}
					})
					time.Sleep(100 * time.Millisecond)
				}
				wg.Wait()
				// The refresh begins when the first is slow, and brings all others over.
				if failed > 0 {
					t.Errorf("%d of 50 Dials failed, the last one began after %v", failed, last)
				}
				w.wantCalls(4)
			})
		})
	}
}

// A Dial that began before the last but one refresh.
func TestAnOldDialFindsAnInstanceThatHasMoved(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{Addrs: publicOnly}, func(t *testing.T, w *world) {
		w.wantDial()
		w.Swallow(publicHost)
		var wg sync.WaitGroup
		defer wg.Wait()
		began := time.Now()
		wg.Go(func() {
			if err := w.dial(20 * time.Second); err != nil || time.Since(began) > 5*time.Second {
				t.Errorf("after %v: %v", time.Since(began), err)
			}
		})
		w.wantError(context.DeadlineExceeded, 300*time.Millisecond)
		time.Sleep(time.Second)
		w.wantCalls(4) // the addresses are the same, the metadata is another
		w.instance.SetAddrs(movedTo)
		for w.dial(500*time.Millisecond) != nil {
		}
	})
}

// A node of a read pool that was replaced.
func TestCallersWithLittleTimeFindANodeThatHasMoved(t *testing.T) {
	nodes := []cloudsqltest.Node{{Addrs: publicOnly}}
	addrs := map[cloudsqlconn.IPType]string{cloudsqlconn.PrivateIP: privateHost}
	inWorld(t, cloudsqltest.Instance{Nodes: nodes, Addrs: addrs}, func(t *testing.T, w *world) {
		w.wantDial(cloudsqlconn.WithPublicIP())
		w.instance.Nodes()[0].SetAddrs(map[cloudsqlconn.IPType]string{cloudsqlconn.PublicIP: "127.9.0.3"})
		w.Swallow(publicHost)
		w.fault.Store(&cloudsqltest.Fault{Delay: 50 * time.Millisecond})
		for w.dial(100*time.Millisecond, cloudsqlconn.WithPublicIP()) != nil {
			if w.calls() > 4 {
				t.Fatal("the node is not found")
			}
			time.Sleep(100 * time.Millisecond)
		}
		if w.Restore(publicHost) == 0 {
			t.Error("the fault did not happen")
		}
		w.wantCalls(4)
	})
}

// An instance that is silent and has not moved costs the API next to nothing,
// however many callers find it so.
func TestASilentInstanceDoesNotHammerTheAPI(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{Addrs: publicOnly}, func(t *testing.T, w *world) {
		w.wantDial()
		w.Swallow(publicHost)
		for range 1000 {
			w.wantError(context.DeadlineExceeded, 300*time.Millisecond)
		}
		if n := w.calls(); n > 2+2*15 { // 1 s apart, doubling to 30 s
			t.Errorf("%d API calls in five minutes", n)
		}
		w.instance.SetAddrs(movedTo)
		time.Sleep(5 * time.Minute)
		for range 2 {
			if err := w.dial(300 * time.Millisecond); err == nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
		t.Error("the instance is not found once it has moved")
	})
}

// An instance that fails over is silent before it moves. Refreshes that bring
// nothing new are 30 s apart in the end (DESIGN, rule 7), and a look comes 2 s after
// the beginning of a Dial.
func TestAnInstanceThatMovesAfterALongSilenceIsFound(t *testing.T) {
	const most = 33 * time.Second
	for _, patience := range []time.Duration{500 * time.Millisecond, 3 * time.Second, 10 * time.Second} {
		t.Run(patience.String(), func(t *testing.T) {
			inWorld(t, cloudsqltest.Instance{Addrs: publicOnly}, func(t *testing.T, w *world) {
				w.wantDial()
				w.Swallow(publicHost)
				began := time.Now()
				for time.Since(began) < 320*time.Second {
					w.wantError(context.DeadlineExceeded, patience)
				}
				w.instance.SetAddrs(movedTo)
				d := took(func() {
					for w.dial(patience) != nil {
					}
				})
				if d > most {
					t.Errorf("it was found after %v", d)
				}
			})
		})
	}
}

// Looks in vain at an instance that was only slow, and has answered since, do not
// have a move wait.
func TestAnInstanceThatMovesAfterOtherSilencesIsFoundSoon(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{Addrs: publicOnly}, func(t *testing.T, w *world) {
		const patience = 300 * time.Millisecond
		w.wantDial()
		for range 9 {
			w.Swallow(publicHost)
			for range 7 {
				w.wantError(context.DeadlineExceeded, patience)
			}
			if w.Restore(publicHost) == 0 {
				t.Fatal("the fault did not happen")
			}
			w.wantDial()
			time.Sleep(5 * time.Second)
		}
		w.instance.SetAddrs(movedTo)
		w.Swallow(publicHost)
		d := took(func() {
			for w.dial(patience) != nil {
			}
		})
		if d > 5*time.Second {
			t.Errorf("it was found after %v", d)
		}
		if n := w.calls(); n > 2+2*2*10 { // two looks a silence
			t.Errorf("%d API calls in a minute", n)
		}
	})
}

// Callers that come and go with too little time for a handshake, beside others
// that have enough: each of the latter says that all is well.
func TestHastyCallersOfASlowInstanceDoNotHammerTheAPI(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{Addrs: publicOnly}, func(t *testing.T, w *world) {
		n := &network{w: w, delay: 80 * time.Millisecond}
		w.wantDial(n.option())
		for range 500 {
			if err := w.dial(50*time.Millisecond, n.option()); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("the fault did not happen: %v", err)
			}
			w.wantDial(n.option())
		}
		if n := w.calls(); n > 2+2*3 {
			t.Errorf("%d API calls in a minute", n)
		}
	})
}
