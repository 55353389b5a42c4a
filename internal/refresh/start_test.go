package refresh

import (
	"testing"
	"time"
)

// Rule 3: a value is replaced when it is due.

func TestTimerReplacesAValueThatIsDue(t *testing.T) {
	tell(t, Policy{}, func(t *testing.T, w *world) {
		// The first one comes somewhere in the second half.
		w.get(time.Minute).want(1, latency)
		time.Sleep(15*time.Minute - latency)
		w.wantFetches(1)
		time.Sleep(15*time.Minute + 2*latency)
		w.wantFetches(2)
		w.want(2)

		// From then on each comes when it is due, give or take a tenth.
		time.Sleep(time.Until(w.fetches()[1]) + 27*time.Minute)
		w.wantFetches(2)
		time.Sleep(6*time.Minute + 2*latency)
		w.wantFetches(3)
		w.want(3)
	})
}

func TestTimersOfManyCachesSpreadOut(t *testing.T) {
	tell(t, Policy{}, func(t *testing.T, _ *world) {
		const caches = 1000
		worlds := newWorlds(t, caches, hourly)
		began := time.Now()
		time.Sleep(40 * time.Minute)
		perMinute := map[int]int{}
		for _, w := range worlds {
			due := w.fetches()[1].Sub(began)
			perMinute[int(due/time.Minute)]++
		}
		for m, n := range perMinute {
			if m < 15 || m > 30 || n > 2*caches/15 {
				t.Errorf("%d of %d refreshes in minute %d", n, caches, m)
			}
		}
	})
}

// A tenth more than 54 minutes would be after the end of a value that lives
// for 58: its timer would find nothing left to keep fresh.
func TestTimerIsNeverTooLate(t *testing.T) {
	tell(t, Policy{}, func(t *testing.T, _ *world) {
		worlds := newWorlds(t, 200, answer{after: latency, life: 58 * time.Minute})
		time.Sleep(58 * time.Minute)
		for _, w := range worlds {
			w.want(2)
		}
	})
}

// A certificate that is issued for an hour has a little less left when it
// arrives. It is replaced at half its life all the same: then the source can be
// down for 26 minutes, beginning at any moment, and nobody notices.
func TestAValueIssuedForAnHourIsNeverOld(t *testing.T) {
	tell(t, Policy{}, func(t *testing.T, w *world) {
		w.answers(answer{after: latency, life: time.Hour - latency})
		w.get(time.Minute).want(1, latency)
		for n := range 20 {
			w.wantFetches(n + 1)
			time.Sleep(time.Until(w.fetches()[n]) + latency + 33*time.Minute + latency) // until the value had arrived, and until the next has
			w.want(n + 2)
		}
	})
}

func TestLazyCacheFetchesOnlyWhenAsked(t *testing.T) {
	tell(t, Policy{Lazy: true}, func(t *testing.T, w *world) {
		w.get(time.Minute).want(1, latency)
		time.Sleep(30*time.Minute - 1)
		w.want(1)
		w.wantFetches(1)

		time.Sleep(20 * time.Minute)
		w.wantFetches(1)
		w.want(1) // the first that finds it due starts the fetch and does not wait
		w.want(1)
		w.wantFetches(2)
		time.Sleep(time.Second)
		w.want(2)

		time.Sleep(2 * time.Hour)
		v := w.get(time.Minute).want(3, latency) // nothing usable is left
		w.answers(down)
		w.c.Refresh(v)
		time.Sleep(20 * time.Minute)
		w.wantFetches(4)
	})
}

func TestGetStartsTheFetchThatALateTimerHasNot(t *testing.T) {
	tell(t, Policy{}, func(t *testing.T, w *world) {
		w.get(time.Minute).want(1, latency)
		w.c.mu.Lock()
		w.c.timer.Stop() // the machine slept, say
		w.c.mu.Unlock()
		time.Sleep(40 * time.Minute)
		w.wantFetches(1)
		w.want(1)
		time.Sleep(time.Second)
		w.want(2)

		time.Sleep(33 * time.Minute) // the timer is back
		w.want(3)
	})
}

func TestTimerThatFindsAFetchInProgressStartsNone(t *testing.T) {
	tell(t, Policy{Timeout: time.Hour}, func(t *testing.T, w *world) {
		v := w.get(time.Minute).want(1, latency)
		w.answers(answer{after: 20 * time.Minute, life: time.Hour})
		time.Sleep(20 * time.Minute)
		w.c.Refresh(v)
		time.Sleep(15 * time.Minute)
		w.want(1)
		w.wantFetches(2)
		time.Sleep(6 * time.Minute)
		w.want(2)
	})
}

func TestTimerStartsAtMostOneFetchAMinute(t *testing.T) {
	tell(t, Policy{}, func(t *testing.T, w *world) {
		// Too short a life for the timer: one fetch for the Get, one for the
		// timer's first turn, none after that.
		w.answers(answer{after: latency, life: 20 * time.Second})
		w.get(time.Minute).want(1, latency)
		time.Sleep(10 * time.Minute)
		w.wantFetches(2)
	})
}

func TestTimersFetchesAreAMinuteApart(t *testing.T) {
	tell(t, Policy{}, func(t *testing.T, _ *world) {
		// Due after 60 s, give or take 6, and usable for 72.
		worlds := newWorlds(t, 20, answer{after: latency, life: 80 * time.Second})
		time.Sleep(14 * time.Minute)
		for _, w := range worlds {
			began := w.fetches()
			if len(began) < 12 {
				t.Errorf("%d fetches in 14 minutes", len(began))
			}
			for i := 2; i < len(began); i++ {
				if d := began[i].Sub(began[i-1]); d < time.Minute {
					t.Errorf("fetch %d came %v after the one before", i+1, d)
				}
			}
		}
	})
}

func TestFiveMinuteValuesCostAtMost400FetchesADay(t *testing.T) {
	fiveMinutes := answer{after: latency, life: 5 * time.Minute}
	for _, tt := range []struct {
		name  string
		p     Policy
		every time.Duration
	}{
		{"ahead, a Get a second", Policy{}, time.Second},
		{"ahead, a Get in ten minutes", Policy{}, 10 * time.Minute},
		{"lazy, a Get a second", Policy{Lazy: true}, time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tell(t, tt.p, func(t *testing.T, w *world) {
				w.answers(fiveMinutes)
				w.get(time.Minute).want(1, latency)
				for range int(24 * time.Hour / tt.every) {
					time.Sleep(tt.every)
					if _, err := w.c.Get(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				w.wantFetchesBetween(370, 400)
			})
		})
	}
}

func TestTenSecondValuesBlockNobody(t *testing.T) {
	tellBoth(t, func(t *testing.T, w *world) {
		w.answers(answer{after: latency, life: 10 * time.Second})
		w.get(time.Minute).want(1, latency)
		began := time.Now()
		for time.Since(began) < 10*time.Minute {
			time.Sleep(100 * time.Millisecond)
			asked := time.Now()
			if _, err := w.c.Get(t.Context()); err != nil {
				t.Fatal(err)
			}
			if d := time.Since(asked); d > 0 {
				t.Fatalf("after %v, a Get waited for %v", time.Since(began), d)
			}
		}
		w.wantFetchesBetween(70, 91)
	})
}

// Rule 8: nobody asking, nothing done.

func TestSleepsWhenTheValueHasExpiredAndNobodyAsks(t *testing.T) {
	tell(t, Policy{}, func(t *testing.T, w *world) {
		w.get(time.Minute).want(1, latency)
		w.answers(down)
		time.Sleep(time.Hour)
		n := len(w.fetches())
		if n < 2 {
			t.Error("the timer has not tried")
		}
		time.Sleep(24 * time.Hour)
		w.wantFetches(n)

		w.answers(hourly)
		w.get(time.Minute).want(n+1, latency)
	})
}

func TestLetsGoOfAValueThatNobodyHasAskedForInTwoLifetimes(t *testing.T) {
	tell(t, Policy{}, func(t *testing.T, w *world) {
		w.get(time.Minute).want(1, latency)
		time.Sleep(2 * time.Hour)
		w.wantFetchesBetween(4, 5)
		if w.c.Idle() {
			t.Error("idle too early")
		}
		time.Sleep(time.Hour)
		n := len(w.fetches())
		if !w.c.Idle() {
			t.Error("not idle, though nobody has asked for three hours")
		}
		if s := w.c.Status(); s.Value != nil {
			t.Errorf("still holds value %d", *s.Value)
		}
		time.Sleep(24 * time.Hour)
		w.wantFetches(n)
		w.get(time.Minute).want(n+1, latency)
		if w.c.Idle() {
			t.Error("idle, though somebody has just asked")
		}
	})
}

func TestIdle(t *testing.T) {
	idleAfter := func(t *testing.T, w *world, d time.Duration) {
		t.Helper()
		time.Sleep(d)
		if w.c.Idle() {
			t.Errorf("idle after %v", d)
		}
		time.Sleep(time.Nanosecond)
		if !w.c.Idle() {
			t.Errorf("not idle after %v", d)
		}
	}
	t.Run("nobody has ever asked", func(t *testing.T) {
		tell(t, Policy{}, func(t *testing.T, w *world) {
			idleAfter(t, w, 15*time.Minute)
		})
	})
	t.Run("short-lived value", func(t *testing.T) {
		tell(t, Policy{}, func(t *testing.T, w *world) {
			w.answers(answer{after: latency, life: time.Minute})
			w.get(time.Minute).want(1, latency)
			idleAfter(t, w, 15*time.Minute)
		})
	})
	t.Run("a value that outlives us all", func(t *testing.T) {
		tell(t, Policy{}, func(t *testing.T, w *world) {
			w.answers(answer{after: latency, life: 1<<63 - 1})
			w.get(time.Minute).want(1, latency)
			time.Sleep(10 * 365 * 24 * time.Hour)
			w.want(1)
			if w.c.Idle() {
				t.Error("idle, though somebody has just asked")
			}
			time.Sleep(365 * 24 * time.Hour)
			if w.c.Idle() {
				t.Error("idle within its life")
			}
		})
	})
	t.Run("failed", func(t *testing.T) {
		tell(t, Policy{}, func(t *testing.T, w *world) {
			w.answers(denied)
			w.get(time.Minute).wantErr(latency, errDenied)
			idleAfter(t, w, 15*time.Minute)
		})
	})
	t.Run("the source wants to be left alone", func(t *testing.T) {
		tell(t, Policy{}, func(t *testing.T, w *world) {
			w.answers(busy(time.Hour))
			w.get(time.Minute).wantErr(latency)
			idleAfter(t, w, time.Hour-1)
		})
	})
	t.Run("a fetch is in progress", func(t *testing.T) {
		tell(t, Policy{Timeout: 10 * time.Hour}, func(t *testing.T, w *world) {
			w.answers(hangs)
			w.get(time.Minute).wantErr(time.Minute)
			time.Sleep(9 * time.Hour)
			if w.c.Idle() {
				t.Error("idle in mid-flight")
			}
		})
	})
}
