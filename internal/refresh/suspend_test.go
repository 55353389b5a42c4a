package refresh

import (
	"context"
	"testing"
	"time"
)

// Rule 6: an attempt that the machine slept through decides nothing. A bubble
// cannot be suspended, but a source that does not hear its context end looks
// the same from outside.

var overslept = answer{after: 11 * time.Second, err: errDown, deaf: true} // with a timeout of 10 s

func TestFailureOfASuspendedAttemptIsFollowedByAnotherAttemptAtOnce(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
	}{
		{"transient", errDown},
		{"terminal", errDenied},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tell(t, Policy{Timeout: 10 * time.Second}, func(t *testing.T, w *world) {
				a := overslept
				a.err = tt.err
				w.answers(a)
				var calls []*call
				for range 100 {
					calls = append(calls, w.get(time.Minute))
				}
				w.answers(hourly)
				for _, c := range calls {
					c.want(2, 11*time.Second+latency)
				}
				w.wantFetches(2)
			})
		})
	}
}

func TestAttemptAfterASuspendedOneFailsLikeAnyOther(t *testing.T) {
	tell(t, Policy{Timeout: 10 * time.Second}, func(t *testing.T, w *world) {
		w.answers(overslept)
		var calls []*call
		for range 100 {
			calls = append(calls, w.get(time.Minute))
		}
		w.answers(answer{err: errDenied})
		for _, c := range calls {
			c.wantErr(11*time.Second, errDenied)
		}
		w.wantFetches(2)
	})
}

func TestFailureOfASuspendedAttemptDelaysNobodyLater(t *testing.T) {
	tell(t, Policy{Timeout: 10 * time.Second}, func(t *testing.T, w *world) {
		w.answers(overslept)
		w.get(time.Second).wantErr(time.Second, context.DeadlineExceeded)
		w.answers(hourly)
		time.Sleep(10*time.Second + 1)
		w.get(time.Minute).want(2, latency)
	})
}

func TestGetThatFindsAnOverdueAttemptStartsAnother(t *testing.T) {
	for _, tt := range []struct {
		name string
		late answer
	}{
		{"the old one fails", answer{after: 20 * time.Second, err: errDenied, deaf: true}},
		{"the old one succeeds", answer{after: 20 * time.Second, life: time.Hour, deaf: true}},
		{"the old one fails soon after", answer{after: 10*time.Second + 270*time.Millisecond, err: errDown, deaf: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tell(t, Policy{Timeout: 10 * time.Second}, func(t *testing.T, w *world) {
				w.answers(tt.late)
				first := w.get(time.Minute)
				time.Sleep(10*time.Second + 250*time.Millisecond)
				w.get(time.Millisecond).wantErr(time.Millisecond, context.DeadlineExceeded)
				w.wantFetches(1) // it may still be about to end

				w.answers(hourly)
				second := w.get(time.Minute)
				first.want(2, 10*time.Second+251*time.Millisecond+latency)
				second.want(2, latency)

				time.Sleep(20 * time.Second)
				w.want(2)
				w.wantFetches(2)
			})
		})
	}
}

func TestAttemptThatTheMachineSleptThroughIsReplacedAndCancelled(t *testing.T) {
	tellBoth(t, func(t *testing.T, w *world) {
		w.answers(hangs)
		first := w.get(time.Minute)
		time.Sleep(time.Second)
		w.c.mu.Lock()
		w.c.flight.began = w.c.flight.began.Add(-2 * time.Hour)
		w.c.mu.Unlock()

		w.answers(hourly)
		w.get(time.Minute).want(2, latency)
		first.want(2, time.Second+latency)
		w.c.Close()
		if w.ended[0] != time.Second {
			t.Errorf("the first attempt ended after %v, want 1s", w.ended[0])
		}
	})
}

// That an attempt before this one failed is no reason to wait either.
func TestOverdueAttemptIsReplacedWhateverCameBefore(t *testing.T) {
	tell(t, Policy{Timeout: 10 * time.Second}, func(t *testing.T, w *world) {
		w.answers(denied)
		w.get(time.Minute).wantErr(latency, errDenied)
		time.Sleep(6 * time.Second)
		w.answers(answer{after: time.Hour, deaf: true})
		w.get(time.Second).wantErr(time.Second, errDenied, context.DeadlineExceeded)
		time.Sleep(10 * time.Second)
		w.answers(hourly)
		w.get(time.Minute).want(3, latency)
	})
}
