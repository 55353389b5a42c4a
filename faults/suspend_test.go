package faults_test

import (
	"crypto"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
)

// frozen is the key of a process that stands still once while a refresh is
// under way: what is under way then takes until afterwards, and its time is
// over. Requests cannot show that: those that do not return are left behind.
type frozen struct {
	crypto.Signer
	pause time.Duration
	still atomic.Bool // it stands still at the next use
	stood atomic.Bool
}

func (f *frozen) Public() crypto.PublicKey {
	if f.still.Swap(false) {
		f.stood.Store(true)
		time.Sleep(f.pause)
	}
	return f.Signer.Public()
}

// F1
func TestAnAttemptThatWasSuspendedDoesNotDecide(t *testing.T) {
	for name, opts := range map[string][]cloudsqlconn.Option{"ahead": nil, "lazy": {lazy}} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
				signer, err := admin.ProcessKey()
				if err != nil {
					t.Fatal(err)
				}
				key := &frozen{Signer: signer, pause: 10 * time.Minute} // longer than the attempt may take
				_ = w.dialer.Close()
				w.dialer = w.newDialer(append(opts, cloudsqlconn.WithPrivateKey(key), cloudsqlconn.WithDialTimeout(time.Hour))...)
				w.fault.Store(&cloudsqltest.Fault{Delay: 50 * time.Millisecond}) // a round trip
				key.still.Store(true)

				d := took(func() {
					if err := w.dial(time.Hour); err != nil {
						t.Error(err)
					}
				})
				if !key.stood.Load() {
					t.Fatal("the fault did not happen")
				}
				if late := d - key.pause; late < 0 || late > 60*time.Millisecond {
					t.Errorf("Dial succeeded %v after the pause, want one API round trip", late)
				}
			})
		})
	}
}
