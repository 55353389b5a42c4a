package faults_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// An instance that starts was taken for one that will never do, and was found up
// to 30 s after its start (issue 17, point 2). A Dial with enough time waits.
func TestADialWaitsForTheStartOfAnInstance(t *testing.T) {
	for name, arrange := range map[string]func(w *world){
		"never dialled before": func(*world) {},
		"dialled before":       func(w *world) { w.wantDial() },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
				arrange(w)
				w.instance.SetState(cloudsqltest.Starting)
				calls := w.calls()
				type outcome struct {
					err error
					at  time.Time
				}
				dialled := make(chan outcome, 1)
				go func() {
					ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
					defer cancel()
					c, err := w.dialer.Dial(ctx, testInstance, cloudsqlconn.WithDialTimeout(5*time.Minute))
					if err == nil {
						err = echo(c)
						_ = c.Close()
					}
					dialled <- outcome{err, time.Now()}
				}()
				time.Sleep(100 * time.Second)
				synctest.Wait()
				if len(dialled) > 0 {
					t.Fatalf("the Dial did not wait: %v", (<-dialled).err)
				}
				// A minute has room for 180 calls of a user.
				if n := w.calls() - calls; n > 2*100/4+10 {
					t.Errorf("%d calls in 100 s, want two every 4 s", n)
				}
				started := time.Now()
				w.instance.SetState(cloudsqltest.Runnable)
				if o := <-dialled; o.err != nil || o.at.Sub(started) > 5*time.Second {
					t.Errorf("%v, %v after the start", o.err, o.at.Sub(started))
				}
			})
		})
	}
}

func TestAnInstanceThatIsNotReadySaysSo(t *testing.T) {
	for state, hint := range map[cloudsqltest.State]string{
		cloudsqltest.Stopped:     "--activation-policy=ALWAYS",
		cloudsqltest.Starting:    "is starting",
		cloudsqltest.Maintenance: "in maintenance",
		cloudsqltest.Suspended:   "suspensionReason",
	} {
		t.Run(string(state), func(t *testing.T) {
			inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
				w.instance.SetState(state)
				e := w.wantError(context.DeadlineExceeded, 20*time.Second)
				if !strings.Contains(e.Error(), "invalidState") || !strings.Contains(e.Hint, hint) {
					t.Errorf("got %v; %s\nwant %s", e, e.Hint, hint)
				}
				if errors.Is(e, cloudsqlconn.ErrPermission) || errors.Is(e, cloudsqlconn.ErrNotFound) {
					t.Errorf("%v is no matter of permission or of a name", e)
				}
				if r := w.check(testInstance); r.OK() {
					t.Error("a check of it is OK")
				}
			})
		})
	}
}
