package refresh

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// diary is what hooks were told.
type diary struct {
	mu      sync.Mutex // guards entries
	entries []string
}

func (d *diary) write(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.entries = append(d.entries, fmt.Sprintf(format, args...))
}

// want checks what was told since the last want.
func (d *diary) want(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Equal(d.entries, want) {
		t.Errorf("the hooks were told %q, want %q", d.entries, want)
	}
	d.entries = nil
}

// observe makes w's cache write a diary.
func (w *world) observe() *diary {
	d := &diary{}
	w.c.Observe(Hooks[int]{
		Waiting: func(context.Context) func(error) {
			d.write("waits")
			return func(err error) { d.write("has waited: %v", err != nil) }
		},
		Landed: func(l Landing[int]) {
			if l.Err == nil && !l.Expiry.After(time.Now()) {
				d.write("expiry %v", l.Expiry)
			}
			d.write("%s after %s, %v left, %d attempts, error %v", deref(l.Value), deref(l.Old), l.Left.Round(time.Minute), l.Attempts, l.Err)
		},
	})
	return d
}

func TestHooksAreToldOfLandingsAndOfThoseWhoWait(t *testing.T) {
	tell(t, Policy{Lazy: true}, func(t *testing.T, w *world) {
		d := w.observe()
		w.get(time.Minute).want(1, latency)
		d.want(t, "waits", "1 after none, 0s left, 0 attempts, error <nil>", "has waited: false")
		w.want(1)
		d.want(t) // nobody waits

		w.answers(down)
		time.Sleep(40 * time.Minute)
		w.want(1)
		time.Sleep(time.Second)
		d.want(t, "none after 1, 19m0s left, 1 attempts, error source is down")
		w.answers(hourly)
		time.Sleep(2 * time.Second)
		w.want(1)
		time.Sleep(time.Second)
		d.want(t, "3 after 1, 19m0s left, 1 attempts, error <nil>")
	})
}

func TestAWaitThatEndsInVainIsTold(t *testing.T) {
	tell(t, Policy{}, func(t *testing.T, w *world) {
		d := w.observe()
		w.answers(hangs)
		w.get(time.Second).wantErr(time.Second, context.DeadlineExceeded)
		d.want(t, "waits", "has waited: true")
	})
}

func TestAFetchThatCloseEndsIsNotTold(t *testing.T) {
	tell(t, Policy{}, func(t *testing.T, w *world) {
		d := w.observe()
		w.answers(hangs)
		c := w.get(time.Hour)
		w.c.Close()
		c.wantErr(0, ErrClosed)
		d.want(t, "waits", "has waited: true")
	})
}

func TestAHookMayUseTheCache(t *testing.T) {
	tell(t, Policy{}, func(t *testing.T, w *world) {
		told := 0
		w.c.Observe(Hooks[int]{Landed: func(l Landing[int]) {
			told++
			if v, err := w.c.Get(t.Context()); v != l.Value || err != nil {
				t.Errorf("Get in the hook: %v, %v", deref(v), err)
			}
			w.c.Status()
		}})
		w.get(time.Minute).want(1, latency)
		if told != 1 {
			t.Errorf("the hook was told of %d landings, want 1 before the caller goes on", told)
		}
	})
}

func TestACacheIsNotIdleWhileItTells(t *testing.T) {
	tell(t, Policy{Lazy: true}, func(t *testing.T, w *world) {
		release := make(chan struct{})
		w.c.Observe(Hooks[int]{Landed: func(Landing[int]) { <-release }})
		w.answers(answer{after: latency, err: errors.New("down")})
		c := w.get(time.Second)
		time.Sleep(time.Hour)
		c.wantErr(time.Second, context.DeadlineExceeded)
		if w.c.Idle() {
			t.Error("idle while the hook is running")
		}
		close(release)
		synctest.Wait()
		if !w.c.Idle() {
			t.Error("not idle an hour after anybody asked")
		}
	})
}
