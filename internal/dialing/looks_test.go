package dialing_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/dialing"
)

// looked has a Dial end without an answer every so often, and returns when that was
// worth a look.
func looked(l *dialing.Looks, every, during time.Duration, answered bool) (at []time.Duration) {
	began := time.Now()
	for time.Since(began) <= during {
		if l.Unanswered() {
			at = append(at, time.Since(began))
		}
		if answered {
			l.Answered()
		}
		time.Sleep(every)
	}
	return at
}

func TestManyDialsWithoutAnAnswerAreWorthALookSoon(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var l dialing.Looks
		got := looked(&l, 100*time.Millisecond, 40*time.Second, false)
		want := []time.Duration{0, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 32 * time.Second}
		if !slices.Equal(got, want) {
			t.Errorf("looks at %v, want %v", got, want)
		}
	})
}

// A Dial without an answer between good ones may be a caller's who was short of time.
func TestOneDialWithoutAnAnswerIsWorthALookNowAndThen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var l dialing.Looks
		got := looked(&l, time.Second, 20*time.Minute, true)
		want := []time.Duration{0}
		for _, pause := range []int{10, 20, 40, 80, 160, 300, 300} { // seconds
			want = append(want, want[len(want)-1]+time.Duration(pause)*time.Second)
		}
		if !slices.Equal(got, want) {
			t.Errorf("looks at %v, want %v", got, want)
		}
	})
}

func TestALookThatWasNotInVainBeginsAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var l dialing.Looks
		looked(&l, 100*time.Millisecond, 40*time.Second, false)
		l.Found()
		if got := looked(&l, 100*time.Millisecond, time.Second, false); !slices.Equal(got, []time.Duration{0, time.Second}) {
			t.Errorf("looks at %v, want at once and after 1 s", got)
		}
	})
}

// Why an instance was silent says nothing of why it is again, once it has answered.
func TestASilenceAfterAnswersIsLookedAtSoon(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var l dialing.Looks
		var firsts []time.Duration
		for range 5 {
			firsts = append(firsts, looked(&l, 100*time.Millisecond, 20*time.Second, false)[0])
			for range 110 {
				l.Answered()
				time.Sleep(100 * time.Millisecond)
			}
		}
		if slices.Max(firsts) > 200*time.Millisecond { // which is the third Dial
			t.Errorf("the first looks came after %v", firsts)
		}
	})
}

// An instance that is too slow for most of its callers answers now and then.
func TestFewAnswersAreWorthNoMoreLooks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var l dialing.Looks
		looks := 0
		for range 1000 {
			looks += len(looked(&l, 100*time.Millisecond, 500*time.Millisecond, false))
			l.Answered()
		}
		if looks > 6+10*2 { // half a minute apart in the end
			t.Errorf("%d looks in ten minutes", looks)
		}
	})
}

// An instance that is silent again and again costs the API little more than one that
// is silent all the time.
func TestSilencesThatComeAgainDoNotHammerTheAPI(t *testing.T) {
	t.Parallel()
	const every = 100 * time.Millisecond
	for name, tt := range map[string]struct{ silence, longer, answers time.Duration }{
		"all alike, seldom":      {4 * time.Second, 0, 11 * time.Second},
		"all alike, often":       {time.Second, 0, time.Second},
		"short, seldom":          {300 * time.Millisecond, 0, 11 * time.Second},
		"each a little longer":   {time.Second, every, 300 * time.Millisecond},
		"each longer, and rarer": {time.Second, time.Second, 11 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var l dialing.Looks
				var looks []time.Time
				for began := time.Now(); time.Since(began) < time.Hour; tt.silence += tt.longer {
					from := time.Now()
					for _, at := range looked(&l, every, tt.silence, false) {
						looks = append(looks, from.Add(at))
					}
					for from := time.Now(); time.Since(from) < tt.answers; time.Sleep(every) {
						l.Answered()
					}
				}
				for i := range looks {
					if i >= 10 && looks[i].Sub(looks[i-10]) < time.Minute {
						t.Fatalf("11 looks from %v to %v", looks[i-10], looks[i])
					}
				}
				if len(looks) < 60 {
					t.Errorf("%d looks in an hour", len(looks))
				}
			})
		})
	}
}
