package faults_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

func TestWarmupAllReportsOnEachName(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		const n = 200
		var names []string
		for i := range n {
			name := "my-project:europe-west1:db-" + string(rune('a'+i/26)) + string(rune('a'+i%26))
			names = append(names, name)
			if i != 42 {
				w.AddInstance(name, cloudsqltest.Instance{})
			}
		}
		names = append(names, names[0], names[42], "nonsense")
		fault := &cloudsqltest.Fault{Delay: time.Second}
		w.fault.Store(fault)
		most := 0
		var errs []error
		done := make(chan struct{})
		began := time.Now()
		go func() {
			defer close(done)
			errs = w.dialer.WarmupAll(t.Context(), names)
		}()
		for ended := false; !ended; {
			synctest.Wait()
			open := 0
			for _, r := range w.Requests() {
				if r.Status == 0 {
					open++
				}
			}
			most = max(most, open)
			select {
			case <-done:
				ended = true
			case <-time.After(500 * time.Millisecond):
			}
		}
		if most < 16 || most > 32 {
			t.Errorf("up to %d requests at once, want two for each of 16 instances", most)
		}
		if took := time.Since(began); took > n/16*time.Second+2*time.Second {
			t.Errorf("it took %v", took)
		}
		if len(errs) != len(names) {
			t.Fatalf("%d errors for %d names", len(errs), len(names))
		}
		for i, err := range errs {
			var want error
			switch i {
			case 42, n + 1:
				want = cloudsqlconn.ErrNotFound
			case n + 2:
				want = cloudsqlconn.ErrBadName
			}
			if !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", names[i], err, want)
			}
		}
		w.wantCalls(2*n - countUnanswered(w))
		w.fault.Store(nil)
		conn, err := w.dialer.Dial(t.Context(), names[n-1])
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
		w.wantCalls(2*n - countUnanswered(w))
	})
}

// countUnanswered is one if of the two calls for the missing instance one was
// never sent, since the other had failed before.
func countUnanswered(w *world) int {
	return 2 - len(slices.DeleteFunc(w.Requests(), func(r cloudsqltest.Request) bool { return !strings.HasSuffix(r.Instance, ":db-bq") }))
}

// What waits for its turn does not use up its own time.
func TestWarmupAllGivesEachNameItsTime(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		var names []string
		for i := range 40 {
			name := "my-project:europe-west1:db-" + string(rune('a'+i/26)) + string(rune('a'+i%26))
			names = append(names, name)
			w.AddInstance(name, cloudsqltest.Instance{})
		}
		w.fault.Store(&cloudsqltest.Fault{Delay: 15 * time.Second})
		if err := errors.Join(w.dialer.WarmupAll(t.Context(), names, cloudsqlconn.WithDialTimeout(20*time.Second))...); err != nil {
			t.Error(err)
		}
		w.wantFaults()
	})
}

func TestWarmupAllEndsWithItsContextAndWithTheDialer(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		w.fault.Store(&cloudsqltest.Fault{Hang: true})
		names := slices.Repeat([]string{testInstance}, 3)
		for i := range 50 {
			names = append(names, "my-project:europe-west1:db-"+strings.Repeat("x", i+1))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var errs []error
		if d := took(func() { errs = w.dialer.WarmupAll(ctx, names) }); d != time.Second {
			t.Errorf("it took %v", d)
		}
		for i, err := range errs {
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%d: %v", i, err)
			}
		}
		time.AfterFunc(time.Second, func() { _ = w.dialer.Close() })
		if d := took(func() { errs = w.dialer.WarmupAll(t.Context(), names) }); d != time.Second {
			t.Errorf("it took %v", d)
		}
		for i, err := range errs {
			if !errors.Is(err, cloudsqlconn.ErrDialerClosed) {
				t.Errorf("%d: %v", i, err)
			}
		}
		if errs := w.dialer.WarmupAll(t.Context(), nil); len(errs) != 0 {
			t.Errorf("for no names: %v", errs)
		}
	})
}
