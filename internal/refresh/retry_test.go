package refresh

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// Rule 4: transient failures.

func TestWaitsThroughTransientFailures(t *testing.T) {
	tellBoth(t, func(t *testing.T, w *world) {
		w.answers(down)
		c := w.get(time.Hour)
		time.Sleep(5 * time.Second)
		c.wantWaiting()
		w.answers(hourly)
		c.want(4, 7*time.Second+4*latency)
		w.wantPauses(time.Second, 2*time.Second, 4*time.Second)
	})
}

func TestPausesDoubleToHalfAMinute(t *testing.T) {
	tellBoth(t, func(t *testing.T, w *world) {
		w.answers(answer{err: errDown})
		w.get(time.Hour)
		time.Sleep(110 * time.Second)
		w.wantPauses(1*time.Second, 2*time.Second, 4*time.Second, 8*time.Second, 16*time.Second, 30*time.Second, 30*time.Second)
	})
}

// A fetch that takes long to fail must not look like a pause in which nobody
// asked.
func TestPausesDoubleThoughEachFetchTakesLong(t *testing.T) {
	tellBoth(t, func(t *testing.T, w *world) {
		w.answers(answer{after: 40 * time.Second, err: errDown})
		w.get(time.Hour)
		time.Sleep(4 * time.Minute)
		began := w.fetches()
		for i, want := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second} {
			if pause := began[i+1].Sub(began[i]) - 40*time.Second; pause < want || pause > want+want/10 {
				t.Errorf("pause %d is %v, want %v", i+1, pause, want)
			}
		}
	})
}

func TestPausesBeginAnewWhenNobodyHasWaited(t *testing.T) {
	tellBoth(t, func(t *testing.T, w *world) {
		w.answers(down)
		w.get(time.Minute).wantErr(time.Minute, errDown)
		n := len(w.fetches())
		time.Sleep(31 * time.Second)

		c := w.get(time.Hour)
		time.Sleep(latency)
		w.answers(hourly)
		c.want(n+2, 2*time.Second+2*latency) // and not half a minute
	})
}

func TestCallerIsToldOfEveryFailure(t *testing.T) {
	tellBoth(t, func(t *testing.T, w *world) {
		w.answers(down)
		f := w.get(5*time.Second).wantErr(5*time.Second, errDown, context.DeadlineExceeded)
		if f.Attempts < 3 || f.Age <= 0 || f.Age > 3*time.Second {
			t.Errorf("told of %d attempts, the last %v ago", f.Attempts, f.Age)
		}
	})
}

func TestCallerThatCannotWaitForItsTurnGetsAnAttemptOfItsOwn(t *testing.T) {
	tellBoth(t, func(t *testing.T, w *world) {
		w.answers(down)
		w.get(time.Hour)
		time.Sleep(40 * time.Second) // the next turn is at about a minute
		n := len(w.fetches())
		w.answers(hourly)
		w.get(2*time.Second).want(n+1, latency)
	})
}

func TestAttemptsOfHastyCallersComeOnceASecond(t *testing.T) {
	tellBoth(t, func(t *testing.T, w *world) {
		w.answers(answer{err: errDown})
		for range 1000 {
			time.Sleep(100 * time.Millisecond)
			w.get(300 * time.Millisecond)
		}
		w.wantFetchesBetween(80, 101)
	})
}

func TestPatientCallerTakesTheValueThatAHastyOneBrings(t *testing.T) {
	tellBoth(t, func(t *testing.T, w *world) {
		w.answers(down)
		patient := w.get(time.Hour)
		time.Sleep(40 * time.Second) // the next turn is at about a minute
		patient.wantWaiting()

		n := len(w.fetches())
		w.answers(hourly)
		w.get(2*time.Second).want(n+1, latency)
		patient.want(n+1, 40*time.Second+latency)
	})
}

func TestWaitingCallerHearsOfATerminalFailureAtOnce(t *testing.T) {
	tellBoth(t, func(t *testing.T, w *world) {
		w.answers(down)
		patient := w.get(time.Hour)
		time.Sleep(40 * time.Second)
		w.answers(denied)
		w.get(2*time.Second).wantErr(latency, errDenied)
		patient.wantErr(40*time.Second+latency, errDenied)
	})
}

func TestTimerRetriesWhileTheValueLasts(t *testing.T) {
	tell(t, Policy{}, func(t *testing.T, w *world) {
		w.get(time.Minute).want(1, latency)
		time.Sleep(14 * time.Minute)
		w.answers(down)
		time.Sleep(21 * time.Minute)
		w.wantFetchesBetween(5, 60)
		n := len(w.fetches())
		w.answers(hourly)
		time.Sleep(time.Minute)
		w.wantFetches(n + 1)
		w.want(n + 1)
	})
}

func TestRetryAfterIsObeyed(t *testing.T) {
	t.Run("without a value", func(t *testing.T) {
		tellBoth(t, func(t *testing.T, w *world) {
			w.answers(busy(30 * time.Second))
			patient := w.get(time.Hour)
			time.Sleep(latency)
			synctest.Wait()
			w.answers(hourly)

			hasty := w.get(29 * time.Second)
			f := hasty.wantErr(0)
			if f == nil || f.Err.Error() != "too many requests" || f.Ctx != nil {
				t.Errorf("hasty caller is told %v", hasty.err)
			}
			time.Sleep(30*time.Second - 1)
			w.wantFetches(1)
			patient.want(2, 30*time.Second+2*latency)
		})
	})
	t.Run("with a value", func(t *testing.T) {
		tellBoth(t, func(t *testing.T, w *world) {
			for range 20 { // jitter must not make it earlier
				w := newWorld(t, w.c.policy)
				defer w.c.Close()
				v := w.get(time.Minute).want(1, latency)
				w.answers(busy(30 * time.Second))
				w.c.Refresh(v)
				time.Sleep(latency)
				w.wantFetches(2)
				for range 29 {
					time.Sleep(time.Second)
					w.want(1)
					w.c.Refresh(v)
				}
				time.Sleep(time.Second - 1)
				w.wantFetches(2)
			}
		})
	})
	t.Run("for longer than there can be", func(t *testing.T) {
		tell(t, Policy{}, func(t *testing.T, w *world) {
			v := w.get(time.Minute).want(1, latency)
			w.answers(busy(1<<63 - 1))
			w.c.Refresh(v)
			time.Sleep(59 * time.Minute)
			w.want(1)
			w.wantFetches(2)
			time.Sleep(time.Hour)
			w.get(time.Minute).wantErr(0)
		})
	})
}

func TestFetchThatReturnsNothingIsAnError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fetches := 0
		c := New(Policy{}, func(context.Context) (*int, time.Time, error) {
			fetches++
			return nil, time.Time{}, nil
		})
		defer c.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if v, err := c.Get(ctx); v != nil || !errors.Is(err, errNoValue) {
			t.Errorf("Get = %v, %v", v, err)
		}
		if fetches > 10 {
			t.Errorf("%d fetches in 10 s", fetches)
		}
	})
}

// The lock is never held over a callback.
func TestJudgeMayUseTheCache(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var c *Cache[int]
		p := Policy{Judge: func(error) Verdict {
			c.Idle()
			return Verdict{Terminal: true}
		}}
		c = New(p, func(context.Context) (*int, time.Time, error) { return nil, time.Time{}, errDown })
		defer c.Close()
		if _, err := c.Get(t.Context()); !errors.Is(err, errDown) {
			t.Error(err)
		}
	})
}

func TestRetriesOfManyCachesSpreadOut(t *testing.T) {
	tell(t, Policy{}, func(t *testing.T, _ *world) {
		pauses := map[time.Duration]bool{}
		for _, w := range newWorlds(t, 100, answer{err: errDown}) {
			time.Sleep(1100 * time.Millisecond)
			began := w.fetches()
			pauses[began[1].Sub(began[0])] = true
		}
		if len(pauses) < 90 {
			t.Errorf("100 caches made their second attempt after %d different pauses", len(pauses))
		}
	})
}

// The pause that grew before is not what the source asks for.
func TestShortRetryAfterInALongOutageIsWaitedFor(t *testing.T) {
	tellBoth(t, func(t *testing.T, w *world) {
		w.answers(down)
		w.get(20*time.Second).wantErr(20*time.Second, errDown, context.DeadlineExceeded) // pauses of 8 s by now
		w.answers(busy(time.Second))
		if v, err := w.c.Get(within(t, 2*time.Second)); err == nil {
			t.Errorf("got %d, want an error", *v)
		}
		w.answers(hourly)
		if v, err := w.c.Get(within(t, 4*time.Second)); v == nil {
			t.Errorf("got %v, want a value", err)
		}
	})
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
