package refresh

import (
	"context"
	"errors"
	"testing"
	"time"
)

// Rule 7: forced refreshes.

func TestRefreshServesTheOldValueMeanwhile(t *testing.T) {
	tellBoth(t, func(t *testing.T, w *world) {
		v := w.get(time.Minute).want(1, latency)
		w.c.Refresh(v)
		w.want(1)
		time.Sleep(time.Second)
		w.want(2)
		w.wantFetches(2)
	})
}

func TestInvalidateMakesTheNextGetWait(t *testing.T) {
	tellBoth(t, func(t *testing.T, w *world) {
		v := w.get(time.Minute).want(1, latency)
		w.c.Invalidate(v)
		w.get(time.Minute).want(2, latency)
		w.wantFetches(2)
	})
}

func TestRefreshDoesNotMakeASuspectValueGoodAgain(t *testing.T) {
	tellBoth(t, func(t *testing.T, w *world) {
		v := w.get(time.Minute).want(1, latency)
		w.c.Invalidate(v)
		w.c.Refresh(v)
		w.get(time.Minute).want(2, latency)
	})
}

func TestSuspectValueIsServedForWantOfBetter(t *testing.T) {
	for _, a := range []answer{down, denied, busy(time.Minute)} {
		t.Run(a.err.Error(), func(t *testing.T) {
			tellBoth(t, func(t *testing.T, w *world) {
				v := w.get(time.Minute).want(1, latency)
				w.answers(a)
				w.c.Invalidate(v)
				w.get(time.Minute).want(1, latency) // the fetch has failed
				w.want(1)                           // and the next may not start yet
				w.wantFetches(2)

				w.answers(hourly)
				time.Sleep(2 * time.Minute)
				n := len(w.fetches()) // the timer may have fetched by now
				if n == 2 {
					w.get(time.Minute).want(3, latency)
				} else {
					w.want(n)
				}
			})
		})
	}
}

func TestConfirmedValueIsNoLongerSuspect(t *testing.T) {
	tellBoth(t, func(t *testing.T, w *world) {
		v := w.get(time.Minute).want(1, latency)
		w.answers(down)
		w.c.Invalidate(v)
		w.get(time.Minute).want(1, latency)
		w.c.Confirm(v)
		w.answers(hangs)
		time.Sleep(4 * time.Second)
		w.want(1) // though a fetch is in progress, or may start
		if w.c.troubled.Load() {
			t.Error("the next Confirm will take the lock for nothing")
		}
	})
}

func TestHundredFailingCallersCauseOneFetch(t *testing.T) {
	for _, tt := range []struct {
		name  string
		doubt func(*Cache[int], *int)
	}{
		{"Refresh", (*Cache[int]).Refresh},
		{"Invalidate", (*Cache[int]).Invalidate},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tellBoth(t, func(t *testing.T, w *world) {
				old := w.get(time.Minute).want(1, latency)
				var calls []*call
				for range 100 {
					tt.doubt(w.c, old)
					calls = append(calls, w.next(time.Minute, old))
				}
				for _, c := range calls {
					c.want(2, latency)
				}
				tt.doubt(w.c, old) // another has long replaced it
				w.want(2)
				w.wantFetches(2)
			})
		})
	}
}

func TestForcedFetchesAreFreeWhileTheyHelp(t *testing.T) {
	tellBoth(t, func(t *testing.T, w *world) {
		v := w.get(time.Minute).want(1, latency)
		for n := 2; n < 20; n++ {
			w.c.Refresh(v)
			v = w.next(time.Minute, v).want(n, latency)
			w.c.Confirm(v)
		}
	})
}

func TestFruitlessForcedFetchesBackOff(t *testing.T) {
	tellBoth(t, func(t *testing.T, w *world) {
		w.answers(answer{life: time.Hour})
		w.get(time.Minute).want(1, 0)
		time.Sleep(time.Minute)
		for range 2000 {
			v, err := w.c.Get(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			w.c.Refresh(v)
			time.Sleep(50 * time.Millisecond)
		}
		w.wantPauses(time.Minute, time.Second, 2*time.Second, 4*time.Second, 8*time.Second, 16*time.Second, 30*time.Second, 30*time.Second)
	})
}

func TestSuspectValueIsFetchedAnewOnlyNowAndThen(t *testing.T) {
	tellBoth(t, func(t *testing.T, w *world) {
		w.answers(answer{life: time.Hour})
		w.get(time.Minute).want(1, 0)
		for range 6000 {
			v, err := w.c.Get(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			w.c.Invalidate(v)
			time.Sleep(10 * time.Millisecond)
		}
		w.wantFetches(7) // the forced ones at 0, 1, 3, 7, 15 and 31 s
	})
}

func TestForcedFetchesObeyTheLimitsAfterAFailure(t *testing.T) {
	tellBoth(t, func(t *testing.T, w *world) {
		w.answers(answer{life: time.Hour})
		v := w.get(time.Minute).want(1, 0)
		w.answers(answer{err: errDenied})
		for range 1000 {
			w.c.Refresh(v)
			w.c.Confirm(v)
			time.Sleep(10 * time.Millisecond)
		}
		w.wantFetches(3) // the failed ones at 0 and 5 s; the next may come at 15
	})
}

func TestNextWaitsForAnotherValue(t *testing.T) {
	t.Run("through failures", func(t *testing.T) {
		tellBoth(t, func(t *testing.T, w *world) {
			old := w.get(time.Minute).want(1, latency)
			w.answers(down)
			w.c.Refresh(old)
			c := w.next(time.Minute, old)
			time.Sleep(time.Second)
			c.wantWaiting()
			w.want(1) // others are served meanwhile
			w.answers(hourly)
			c.want(3, time.Second+2*latency)
		})
	})
	t.Run("until a terminal failure", func(t *testing.T) {
		tellBoth(t, func(t *testing.T, w *world) {
			old := w.get(time.Minute).want(1, latency)
			w.answers(denied)
			w.c.Invalidate(old)
			w.next(time.Minute, old).wantErr(latency, errDenied)
			w.next(time.Minute, old).wantErr(0, errDenied)
			w.wantFetches(2)
		})
	})
	t.Run("until its context ends", func(t *testing.T) {
		tellBoth(t, func(t *testing.T, w *world) {
			old := w.get(time.Minute).want(1, latency)
			w.answers(hangs)
			w.c.Refresh(old)
			w.next(time.Second, old).wantErr(time.Second, context.DeadlineExceeded)
		})
	})
}

func TestNextTakesAValueThatIsAlreadyAnother(t *testing.T) {
	tellBoth(t, func(t *testing.T, w *world) {
		old := w.get(time.Minute).want(1, latency)
		w.c.Refresh(old)
		time.Sleep(time.Second)
		w.next(time.Minute, old).want(2, 0)
	})
}

func TestNextIsGetWhenNothingIsUsable(t *testing.T) {
	tellBoth(t, func(t *testing.T, w *world) {
		w.next(time.Minute, nil).want(1, latency)
		old := w.want(1)
		time.Sleep(10 * time.Hour)
		n := len(w.fetches())
		w.next(time.Minute, old).want(n+1, latency)
	})
}

func TestNextDoesNotWaitWhenNothingNewMayBeFetched(t *testing.T) {
	tellBoth(t, func(t *testing.T, w *world) {
		v := w.get(time.Minute).want(1, latency)
		w.next(time.Minute, v).wantErr(0, ErrUnchanged) // nobody has said that it is bad

		w.c.Refresh(v)
		v = w.next(time.Minute, v).want(2, latency)
		w.c.Refresh(v) // too early for another
		w.next(time.Minute, v).wantErr(0, ErrUnchanged)
		w.wantFetches(2)
	})
}

func TestVerdictsAboutAnotherValueChangeNothing(t *testing.T) {
	tellBoth(t, func(t *testing.T, w *world) {
		other := new(int)
		w.c.Refresh(other)
		w.c.Invalidate(nil)
		w.c.Confirm(other)
		w.wantFetches(0)

		v := w.get(time.Minute).want(1, latency)
		w.c.Refresh(other)
		w.c.Invalidate(other)
		w.c.Confirm(v)
		w.want(1)
		w.wantFetches(1)

		w.answers(denied)
		w.c.Invalidate(v)
		w.c.Confirm(other)
		w.get(time.Minute).want(1, latency) // still suspect
	})
}

func TestStatus(t *testing.T) {
	tellBoth(t, func(t *testing.T, w *world) {
		if s := w.c.Status(); s != (Status[int]{}) {
			t.Errorf("before the first Get: %+v", s)
		}
		v := w.get(time.Minute).want(1, latency)
		fetched := time.Now()
		if s := w.c.Status(); s.Value != v || !s.Fetched.Equal(fetched) || s.Err != nil || s.Attempts != 0 {
			t.Errorf("after a fetch: %+v", s)
		}
		w.answers(denied)
		w.c.Refresh(v)
		time.Sleep(time.Second)
		if s := w.c.Status(); s.Value != v || !s.Fetched.Equal(fetched) || !errors.Is(s.Err, errDenied) || s.Attempts != 1 {
			t.Errorf("after a failure: %+v", s)
		}
	})
}

func TestAnotherReasonToFetchDoesNotWaitAsLongAsTheSameOneAgain(t *testing.T) {
	tellBoth(t, func(t *testing.T, w *world) {
		v := w.get(time.Minute).want(1, latency)
		for range 60 {
			w.c.Refresh(v)
			time.Sleep(time.Second)
			v = w.want(len(w.fetches()))
		}
		n := len(w.fetches())
		w.c.Refresh(v)
		w.wantFetches(n)
		w.c.Hasten()
		w.c.Refresh(v)
		w.wantFetches(n + 1)
		w.c.Hasten()
		w.c.Refresh(v) // there has been one within 1 s
		w.wantFetches(n + 1)
	})
}
