package refresh

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// Rule 1: a fetch belongs to the cache.

func TestFetchesNothingBeforeSomebodyAsks(t *testing.T) {
	tellBoth(t, func(t *testing.T, w *world) {
		time.Sleep(24 * time.Hour)
		w.wantFetches(0)
	})
}

func TestHundredCallersShareOneFetch(t *testing.T) {
	tellBoth(t, func(t *testing.T, w *world) {
		var calls []*call
		for range 100 {
			calls = append(calls, w.get(time.Minute))
		}
		for _, c := range calls {
			c.want(1, latency)
		}
		w.wantFetches(1)
	})
}

func TestCallerThatGivesUpHurtsNobody(t *testing.T) {
	tellBoth(t, func(t *testing.T, w *world) {
		hasty := w.get(latency / 2)
		patient := w.get(time.Minute)
		f := hasty.wantErr(latency/2, context.DeadlineExceeded)
		if f.Err != nil || f.Attempts != 0 {
			t.Errorf("nothing has failed, but the caller is told %+v", f)
		}
		patient.want(1, latency)
		w.wantFetches(1)
	})
}

func TestFetchThatEveryCallerHasLeftStillDelivers(t *testing.T) {
	tellBoth(t, func(t *testing.T, w *world) {
		w.answers(answer{after: 150 * time.Millisecond, life: time.Hour})
		w.get(100*time.Millisecond).wantErr(100*time.Millisecond, context.DeadlineExceeded)
		w.get(100*time.Millisecond).want(1, 50*time.Millisecond)
		w.wantFetches(1)
	})
}

func TestCallerWhoseContextHasEndedStartsNothing(t *testing.T) {
	tellBoth(t, func(t *testing.T, w *world) {
		w.get(0).wantErr(0, context.DeadlineExceeded)
		w.wantFetches(0)

		w.get(time.Minute).want(1, latency)
		w.get(0).want(1, 0) // what costs nothing it may have
	})
}

func TestCallerLearnsWhyItsContextEnded(t *testing.T) {
	tell(t, Policy{}, func(t *testing.T, w *world) {
		errQuit := errors.New("the user has quit")
		ctx, cancel := context.WithCancelCause(t.Context())
		c := w.start(time.Minute, func(context.Context) (*int, error) { return w.c.Get(ctx) })
		cancel(errQuit)
		f := c.wantErr(0, errQuit, context.Canceled)
		if want := "context canceled: the user has quit while waiting for an answer"; f.Error() != want {
			t.Errorf("got %q, want %q", f, want)
		}
	})
}

func TestFetchTimesOutByItself(t *testing.T) {
	tell(t, Policy{Timeout: 10 * time.Second}, func(t *testing.T, w *world) {
		w.answers(hangs)
		c := w.get(time.Minute)
		time.Sleep(5 * time.Second)
		w.answers(hourly)
		c.want(2, 11*time.Second+latency) // the next attempt comes a second later
	})
}

func TestFetchTimesOutAfterAMinuteByDefault(t *testing.T) {
	tell(t, Policy{}, func(t *testing.T, w *world) {
		w.answers(hangs)
		c := w.get(time.Hour)
		time.Sleep(time.Second)
		w.answers(hourly)
		c.want(2, 61*time.Second+latency)
	})
}

func TestEveryFailureIsTransientByDefault(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fetches := 0
		c := New(Policy{}, func(context.Context) (*int, time.Time, error) {
			fetches++
			if fetches == 1 {
				return nil, time.Time{}, errDenied
			}
			return &fetches, time.Time{}, nil
		})
		defer c.Close()
		if _, err := c.Get(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// Rule 2: a value is served until it really expires, less a margin.

func TestServesAValueUntilHalfAMinuteBeforeItsExpiry(t *testing.T) {
	tell(t, Policy{Lazy: true}, func(t *testing.T, w *world) {
		w.get(time.Minute).want(1, latency)
		w.answers(down)
		time.Sleep(59*time.Minute + 30*time.Second - 1)
		w.want(1)
		time.Sleep(time.Nanosecond)
		w.get(time.Second).wantErr(time.Second, errDown, context.DeadlineExceeded)
	})
}

func TestServesAShortLivedValueUntilTheLastTenthOfItsLife(t *testing.T) {
	tell(t, Policy{Lazy: true}, func(t *testing.T, w *world) {
		w.answers(answer{after: latency, life: 10 * time.Second})
		w.get(time.Minute).want(1, latency)
		w.answers(down)
		time.Sleep(9*time.Second - 1)
		w.want(1)
		time.Sleep(time.Nanosecond)
		w.get(time.Second).wantErr(time.Second, errDown)
	})
}

func TestServesOldValueWhileFetchesFail(t *testing.T) {
	tellBoth(t, func(t *testing.T, w *world) {
		w.get(time.Minute).want(1, latency)
		for _, a := range []answer{down, denied, busy(time.Minute), hangs} {
			w.answers(a)
			for range 14 * 60 {
				time.Sleep(time.Second)
				w.want(1)
			}
		}
		w.wantFetchesBetween(10, 120)

		w.answers(hourly)
		time.Sleep(2 * time.Minute) // the hanging fetch times out
		w.get(0)                    // starts another, unless the timer has
		time.Sleep(time.Second)
		w.want(len(w.fetches()))
	})
}

func TestServesAValueWithoutExpiryForEver(t *testing.T) {
	tellBoth(t, func(t *testing.T, w *world) {
		w.answers(answer{after: latency})
		w.get(time.Minute).want(1, latency)
		for range 10 {
			time.Sleep(365 * 24 * time.Hour)
			w.want(1)
		}
		w.wantFetches(1)
	})
}

func TestNoTimerIsLeftOfAValueThatOneWithoutExpiryReplaced(t *testing.T) {
	tell(t, Policy{}, func(t *testing.T, w *world) {
		v := w.get(time.Minute).want(1, latency)
		w.answers(answer{after: latency})
		w.c.Refresh(v)
		time.Sleep(time.Hour)
		w.want(2)
		w.wantFetches(2)
	})
}

func TestValueThatExpiredOnItsWayIsAnErrorAndNotFetchedAgainAtOnce(t *testing.T) {
	for _, life := range []time.Duration{-100 * time.Hour, -time.Second, 1, 999 * time.Millisecond} {
		t.Run(life.String(), func(t *testing.T) {
			tellBoth(t, func(t *testing.T, w *world) {
				w.answers(answer{after: latency, life: life})
				w.get(30*time.Second).wantErr(30*time.Second, ErrExpired, context.DeadlineExceeded)
				w.wantFetchesBetween(2, 32)
			})
		})
	}
}
