package refresh

import (
	"fmt"
	"time"
)

// Failure says why a [Cache] has no value to give. errors.Is and errors.As
// reach both the caller's context error and the last error of the fetch.
type Failure struct {
	Err      error         // the last fetch's error; nil if none has failed yet
	Ctx      error         // why the caller stopped waiting; nil if it did not
	Attempts int           // fetches that failed since the last success
	Age      time.Duration // since the last of them failed
}

// Error tells the last error, how often it came and how old it is.
func (f *Failure) Error() string {
	switch {
	case f.Err == nil:
		return fmt.Sprintf("%v while waiting for the first answer", f.Ctx)
	case f.Ctx != nil:
		return fmt.Sprintf("%v while waiting for another attempt; last error%s: %v", f.Ctx, f.history(), f.Err)
	default:
		return fmt.Sprintf("%v%s", f.Err, f.history())
	}
}

func (f *Failure) history() string {
	if f.Age < time.Millisecond && f.Attempts < 2 {
		return ""
	}
	unit := "attempts"
	if f.Attempts == 1 {
		unit = "attempt"
	}
	return fmt.Sprintf(" (%d %s, the last %v ago)", f.Attempts, unit, f.Age.Round(time.Millisecond))
}

// Unwrap returns Ctx and Err, whichever are set.
func (f *Failure) Unwrap() []error {
	var errs []error
	for _, err := range []error{f.Ctx, f.Err} {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// failure remembers the failed fetches since the last success.
type failure struct {
	err      error
	verdict  Verdict
	at       time.Time
	attempts int
	inARow   int // like attempts, but begun anew when somebody asks after a pause
}

// retryAt is when the next attempt may start; longest bounds the pause after
// a terminal failure.
func (f *failure) retryAt(longest time.Duration) time.Time {
	pause := gap(transientGap, maxGap, f.inARow)
	if f.verdict.Terminal {
		pause = gap(terminalGap, longest, f.inARow)
	}
	return f.at.Add(max(pause, f.verdict.RetryAfter))
}

func (f *failure) report(now time.Time) error {
	return &Failure{Err: f.err, Attempts: f.attempts, Age: now.Sub(f.at)}
}
