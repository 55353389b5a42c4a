package refresh

import (
	"fmt"
	"testing"
	"time"
)

func TestMarginIsATenthOfLifeButNotMoreThanHalfAMinute(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ life, want time.Duration }{
		{0, 0},
		{5 * time.Nanosecond, 0},
		{time.Second, 100 * time.Millisecond},
		{10 * time.Second, time.Second},
		{5 * time.Minute, 30 * time.Second},
		{time.Hour, 30 * time.Second},
		{forEver, 30 * time.Second},
	} {
		if got := margin(tt.life); got != tt.want {
			t.Errorf("margin(%v) = %v, want %v", tt.life, got, tt.want)
		}
	}
}

func TestDueAfter(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ life, want time.Duration }{
		{0, 0},
		{10 * time.Second, 7500 * time.Millisecond},
		{5 * time.Minute, 225 * time.Second},
		{16 * time.Minute, 12 * time.Minute}, // where 4 minutes are a quarter of life
		{20 * time.Minute, 16 * time.Minute},
		{59*time.Minute - time.Second, 55*time.Minute - time.Second},
		{time.Hour - time.Second, 30*time.Minute - time.Second/2}, // issued for an hour, and a second under way
		{time.Hour, 30 * time.Minute},
		{24 * time.Hour, 12 * time.Hour},
	} {
		if got := dueAfter(tt.life); got != tt.want {
			t.Errorf("dueAfter(%v) = %v, want %v", tt.life, got, tt.want)
		}
	}
}

func TestTimerAfter(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ life, earliest, latest time.Duration }{
		{10 * time.Second, 6750 * time.Millisecond, 8250 * time.Millisecond},
		{5 * time.Minute, 202500 * time.Millisecond, 247500 * time.Millisecond},
		{20 * time.Minute, 864 * time.Second, 1056 * time.Second},
		{58 * time.Minute, 2916 * time.Second, 3345 * time.Second}, // a tenth more would be too late
		{time.Hour, 27 * time.Minute, 33 * time.Minute},
	} {
		if got := timerAfter(tt.life, 0); got != tt.earliest {
			t.Errorf("timerAfter(%v, 0) = %v, want %v", tt.life, got, tt.earliest)
		}
		if got := timerAfter(tt.life, 1); got != tt.latest {
			t.Errorf("timerAfter(%v, 1) = %v, want %v", tt.life, got, tt.latest)
		}
	}
}

// Whatever the life of a value, its timer leaves half the time there is
// between the value's being due and its end.
func TestTimerLeavesTimeForTheFetch(t *testing.T) {
	t.Parallel()
	for life := time.Second; life < 3*time.Hour; life += time.Second {
		due, end := dueAfter(life), life-margin(life)
		latest := timerAfter(life, 1)
		if latest < due || latest > due+(end-due)/2 {
			t.Fatalf("life %v: timer at %v at the latest; due at %v, usable until %v", life, latest, due, end)
		}
	}
}

func TestGapDoubles(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		first, most time.Duration
		want        string
	}{
		{transientGap, maxGap, "[1s 1s 2s 4s 8s 16s 30s 30s]"},
		{terminalGap, maxGap, "[5s 5s 10s 20s 30s 30s 30s 30s]"},
		{terminalGap, maxUnattended, "[5s 5s 10s 20s 40s 1m20s 2m40s 5m20s]"},
	} {
		var got []time.Duration
		for n := range 8 {
			got = append(got, gap(tt.first, tt.most, n))
		}
		if fmt.Sprint(got) != tt.want {
			t.Errorf("gap(%v, %v) = %v, want %v", tt.first, tt.most, got, tt.want)
		}
		if got := gap(tt.first, tt.most, 1<<40); got != tt.most {
			t.Errorf("gap(%v, %v, 1<<40) = %v", tt.first, tt.most, got)
		}
	}
}

func TestSuspended(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name            string
		wall, monotonic time.Duration
		want            bool
	}{
		{"nothing happened", 50 * time.Millisecond, 50 * time.Millisecond, false},
		{"it timed out as it should", time.Minute, time.Minute, false},
		{"it timed out on a busy machine", 60250 * time.Millisecond, 60250 * time.Millisecond, false},
		{"the machine slept two hours", 2 * time.Hour, time.Second, true},
		{"the machine slept a second", 1100 * time.Millisecond, 100 * time.Millisecond, false},
		{"the process stood still past its timeout", 61 * time.Second, 61 * time.Second, true},
		{"somebody set the clock back", -time.Hour, time.Second, false},
		{"NTP moved the clock a little", 900 * time.Millisecond, 0, false},
	} {
		if got := suspended(tt.wall, tt.monotonic, time.Minute); got != tt.want {
			t.Errorf("%s: suspended = %t, want %t", tt.name, got, tt.want)
		}
	}
}

func TestRetryAt(t *testing.T) {
	t.Parallel()
	terminal := Verdict{Terminal: true}
	for _, tt := range []struct {
		name  string
		f     failures
		asked bool
		want  time.Duration
	}{
		{"first transient failure", failures{inARow: 1}, true, time.Second},
		{"with all the jitter", failures{inARow: 1, jitter: 1}, true, 1100 * time.Millisecond},
		{"fourth", failures{inARow: 4}, true, 8 * time.Second},
		{"hundredth", failures{inARow: 100}, true, 30 * time.Second},
		{"hundredth, nobody asking", failures{inARow: 100}, false, 30 * time.Second},
		{"first terminal failure", failures{inARow: 1, verdict: terminal}, true, 5 * time.Second},
		{"hundredth terminal", failures{inARow: 100, verdict: terminal}, true, 30 * time.Second},
		{"hundredth terminal, nobody asking", failures{inARow: 100, verdict: terminal}, false, 15 * time.Minute},
		{"fourth that is known to pass", failures{inARow: 4, jitter: 1, verdict: Verdict{MaxPause: 4 * time.Second}}, true, 4400 * time.Millisecond},
		{"fourth that is known to pass, nobody asking", failures{inARow: 4, verdict: Verdict{MaxPause: 4 * time.Second}}, false, 8 * time.Second},
		{"Retry-After, and never earlier", failures{inARow: 1, jitter: 1, verdict: Verdict{RetryAfter: 30 * time.Second}}, true, 30 * time.Second},
		{"Retry-After shorter than the pause", failures{inARow: 4, verdict: Verdict{RetryAfter: time.Second}}, true, 8 * time.Second},
		{"Retry-After of a terminal failure", failures{inARow: 1, verdict: Verdict{Terminal: true, RetryAfter: time.Hour}}, true, time.Hour},
	} {
		tt.f.at = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		if got := tt.f.retryAt(tt.asked).Sub(tt.f.at); got != tt.want {
			t.Errorf("%s: after %v, want %v", tt.name, got, tt.want)
		}
	}
}
