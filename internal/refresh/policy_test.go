package refresh

import (
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
