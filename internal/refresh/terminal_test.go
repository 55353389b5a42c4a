package refresh

import (
	"testing"
	"time"
)

// Rule 5: terminal failures.

func TestTerminalFailureIsAnsweredFromMemory(t *testing.T) {
	tellBoth(t, func(t *testing.T, w *world) {
		w.answers(answer{err: errDenied})
		for i := range 1000 {
			patience := []time.Duration{time.Minute, time.Second}[i%2]
			f := w.get(patience).wantErr(0, errDenied)
			if f == nil || f.Ctx != nil {
				t.Fatalf("Get %d: %v", i, f)
			}
			if want := len(w.fetches()); f.Attempts != want {
				t.Fatalf("Get %d is told of %d attempts, want %d", i, f.Attempts, want)
			}
			began := w.fetches()
			if want := time.Since(began[len(began)-1]); f.Age != want {
				t.Fatalf("Get %d is told of a failure %v ago, want %v", i, f.Age, want)
			}
			time.Sleep(10 * time.Millisecond)
		}
		w.wantFetchesBetween(2, 3)
	})
}

func TestPausesAfterTerminalFailuresDoubleFrom5To30Seconds(t *testing.T) {
	tellBoth(t, func(t *testing.T, w *world) {
		w.answers(answer{err: errDenied})
		for range 2200 {
			w.get(time.Minute).wantErr(0, errDenied)
			time.Sleep(50 * time.Millisecond)
		}
		w.wantPauses(5*time.Second, 10*time.Second, 20*time.Second, 30*time.Second, 30*time.Second)
	})
}

func TestNextCallerRecoversFromATerminalFailure(t *testing.T) {
	tellBoth(t, func(t *testing.T, w *world) {
		w.answers(denied)
		w.get(time.Minute).wantErr(latency, errDenied)
		time.Sleep(24 * time.Hour)
		w.wantFetches(1)
		w.answers(hourly)
		w.get(time.Minute).want(2, latency)
	})
}

// The limits must not begin anew because nobody has asked for some time.
func TestTerminalFailuresAreRememberedThroughPauses(t *testing.T) {
	tellBoth(t, func(t *testing.T, w *world) {
		w.answers(denied)
		for range 4 {
			w.get(time.Minute).wantErr(latency, errDenied)
			time.Sleep(40 * time.Second)
		}
		w.get(time.Minute).wantErr(latency, errDenied)
		n := len(w.fetches())
		for range 29 {
			time.Sleep(time.Second)
			w.get(time.Minute).wantErr(0, errDenied)
		}
		w.wantFetches(n)
	})
}

func TestTerminalFailureForADayWithNobodyAskingCostsFewFetches(t *testing.T) {
	tellBoth(t, func(t *testing.T, w *world) {
		w.get(time.Minute).want(1, latency)
		w.answers(denied)
		time.Sleep(24 * time.Hour)
		w.wantFetchesBetween(1, 12)

		n := len(w.fetches())
		w.answers(hourly)
		w.get(time.Minute).want(n+1, latency)
	})
}

func TestTimerBacksOffToAQuarterOfAnHour(t *testing.T) {
	tell(t, Policy{}, func(t *testing.T, w *world) {
		w.answers(answer{life: 1000 * time.Hour})
		v := w.get(time.Minute).want(1, 0)
		w.answers(answer{err: errDenied})
		w.c.Refresh(v)
		time.Sleep(24 * time.Hour)
		w.wantFetchesBetween(24*4-8, 24*4+8)
		began := w.fetches()
		if d := began[len(began)-1].Sub(began[len(began)-2]); d < 15*time.Minute || d > 16*time.Minute+30*time.Second {
			t.Errorf("the last two fetches are %v apart", d)
		}
	})
}
