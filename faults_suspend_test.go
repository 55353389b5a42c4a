package cloudsqlconn_test

import (
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// frozen is the transport of a process that stands still while requests are
// under way: nothing of it runs, no timeout fires, and afterwards the
// connections are dead.
type frozen struct {
	http.RoundTripper
	left  atomic.Int64 // requests that fall into the pause
	pause time.Duration
}

func (f *frozen) RoundTrip(r *http.Request) (*http.Response, error) {
	if f.left.Add(-1) < 0 {
		return f.RoundTripper.RoundTrip(r)
	}
	time.Sleep(f.pause)
	return nil, http.ErrServerClosed
}

// F1
func TestAnAttemptThatWasSuspendedDoesNotDecide(t *testing.T) {
	for name, opts := range map[string][]cloudsqlconn.Option{"ahead": nil, "lazy": {lazy}} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
				const pause = 10 * time.Minute // longer than the attempt may take
				transport := &frozen{RoundTripper: w.Client().Transport, pause: pause}
				transport.left.Store(2)
				_ = w.dialer.Close()
				w.dialer = w.newDialer(append(opts,
					cloudsqlconn.WithHTTPClient(&http.Client{Transport: transport}),
					cloudsqlconn.WithDialTimeout(time.Hour))...)
				w.fault.Store(&cloudsqltest.Fault{Delay: 50 * time.Millisecond}) // a round trip

				d := took(func() {
					if err := w.dial(time.Hour); err != nil {
						t.Error(err)
					}
				})
				if transport.left.Load() >= 0 {
					t.Fatal("the fault did not happen")
				}
				if late := d - pause; late > 60*time.Millisecond {
					t.Errorf("Dial succeeded %v after the pause, want one API round trip", late)
				}
			})
		})
	}
}
