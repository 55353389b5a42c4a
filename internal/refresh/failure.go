package refresh

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	transientGap  = time.Second // after the first failure, doubling
	terminalGap   = 5 * time.Second
	maxGap        = 30 * time.Second
	maxUnattended = 15 * time.Minute // terminal failures, nobody asking

	clockSlack = time.Second // wall and monotonic clock disagree by less than this
	lateSlack  = 250 * time.Millisecond
)

// Failure says why a [Cache] has no value to give. errors.Is and errors.As
// reach both the caller's context error and the last error of the fetch.
type Failure struct {
	Err      error         // the last error that is known; nil if nothing has failed yet
	Ctx      error         // why the caller stopped waiting; nil if it did not
	Trying   bool          // the fetch is in progress, and Err that of one of its tries
	Attempts int           // fetches that failed since the last success, and one in progress if Trying
	Age      time.Duration // since what failed with Err
}

// Error tells the last error, how often it came and how old it is.
func (f *Failure) Error() string {
	switch {
	case f.Err == nil:
		return fmt.Sprintf("%v while waiting for an answer", f.Ctx)
	case f.Ctx != nil:
		return fmt.Sprintf("%v while waiting for another attempt; last error%s: %v", f.Ctx, f.history(), f.Err)
	default:
		return fmt.Sprintf("%v%s", f.Err, f.history())
	}
}

func (f *Failure) history() string {
	if f.Age < time.Millisecond && f.Attempts < 2 && !f.Trying {
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

// failures remembers the failed fetches since the last success.
type failures struct {
	err      error
	verdict  Verdict
	at       time.Time
	slept    bool    // it failed because the machine slept
	jitter   float64 // lengthens the pause; random, in [0, 1)
	attempts int
	inARow   int // like attempts, but begun anew when somebody asks after a pause
}

// retryAt is when the next attempt may start. Those that nobody asks for have
// longer pauses.
func (f *failures) retryAt(asked bool) time.Time {
	longest := maxGap
	if asked && f.verdict.MaxPause > 0 {
		longest = f.verdict.MaxPause
	}
	pause := gap(transientGap, longest, f.inARow)
	if f.verdict.Terminal {
		longest = maxUnattended
		if asked {
			longest = maxGap
		}
		pause = gap(terminalGap, longest, f.inARow)
	}
	return f.at.Add(max(between(pause, pause+pause/10, f.jitter), f.verdict.RetryAfter))
}

// report is what a caller is told. f is nil if nothing has failed, ctxErr if
// the caller could wait for longer.
func (f *failures) report(now time.Time, ctxErr error) error {
	if f == nil {
		return &Failure{Ctx: ctxErr}
	}
	return &Failure{Err: f.err, Ctx: ctxErr, Attempts: f.attempts, Age: now.Sub(f.at)}
}

// reportLocked is what a caller is told whose context has ended: with the last
// error of all, which may be one of the fetch in progress.
func (c *Cache[T]) reportLocked(now time.Time, ctxErr error) error {
	f := c.flight
	if f == nil || f.tried == nil {
		return c.fail.report(now, ctxErr)
	}
	r := &Failure{Err: f.tried, Ctx: ctxErr, Trying: true, Attempts: 1, Age: now.Sub(f.triedAt)}
	if c.fail != nil {
		r.Attempts += c.fail.attempts
	}
	return r
}

// ContextError says why ctx ended: the cause that somebody gave, and what programs
// look for.
func ContextError(ctx context.Context) error {
	cause := context.Cause(ctx)
	if errors.Is(cause, ctx.Err()) {
		return cause
	}
	return fmt.Errorf("%w: %w", ctx.Err(), cause)
}

// gap is the pause after the n-th failure in a row.
func gap(first, most time.Duration, n int) time.Duration {
	d := first
	for i := 1; i < n && d < most; i++ {
		d *= 2
	}
	return min(d, most)
}

// suspended reports whether the process or the machine stood still during an
// attempt: the two clocks say how long the attempt took, timeout how long it
// was allowed to. A sleeping machine stops the monotonic clock, a stopped
// process notices its timeout late.
func suspended(wall, monotonic, timeout time.Duration) bool {
	return wall-monotonic > clockSlack || monotonic > timeout+lateSlack
}
