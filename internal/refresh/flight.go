package refresh

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// flight is a fetch in progress.
type flight struct {
	began  time.Time
	cancel context.CancelFunc
	forced bool // by somebody's bad luck
	timed  bool // by the timer

	mu      *sync.Mutex // the cache's; guards everything below
	tried   error       // why the last try failed; nil: none has
	triedAt time.Time   // when that was
	noted   int         // see Note
}

type flightKey struct{}

// Tried is told by a fetch, with its context, that a try has failed that another
// one follows. Callers whose context ends meanwhile are told the error. With
// any other context it does nothing.
func Tried(ctx context.Context, err error) {
	if f, ok := ctx.Value(flightKey{}).(*flight); ok {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.tried, f.triedAt = err, time.Now()
	}
}

// Note is told by a fetch, with its context, that something has happened which
// is counted: see [Attempt]. With any other context it does nothing.
func Note(ctx context.Context) {
	if f, ok := ctx.Value(flightKey{}).(*flight); ok {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.noted++
	}
}

// suspended reports whether the machine has slept since the flight began.
func (f *flight) suspended(now time.Time, timeout time.Duration) bool {
	return suspended(now.Round(0).Sub(f.began.Round(0)), now.Sub(f.began), timeout)
}

// land takes in what a fetch brought.
func (c *Cache[T]) land(f *flight, v *T, expiry time.Time, err error) {
	now := time.Now()
	e := newEntry(v, now, expiry)
	switch {
	case err != nil:
	case v == nil:
		err = errNoValue
	case e.life < minLife:
		err = ErrExpired
	}
	var verdict Verdict
	if err != nil {
		verdict = c.policy.Judge(err)
	}

	c.mu.Lock()
	if c.flight != f {
		c.mu.Unlock()
		return // another has taken its place
	}
	l := Landing[T]{Err: err}
	if c.cur != nil {
		l.Old, l.Left = c.cur.value, c.cur.left(now)
	}
	c.flight = nil
	c.rememberLocked(newAttempt(f, now, err))
	switch {
	case c.closed:
	case err != nil:
		c.failedLocked(now, failures{err: err, verdict: verdict, at: now, slept: f.suspended(now, c.policy.Timeout)})
		l.Attempts = c.fail.attempts
	default:
		l.Value, l.Expiry = v, expiry
		if c.fail != nil {
			l.Attempts = c.fail.attempts
		}
		c.cur, c.fail = e, nil
		if !c.policy.Lazy {
			after := firstTimerAfter
			if f.timed {
				after = timerAfter
			}
			c.armLocked(max(after(e.life, rand.Float64()), c.ticked.Add(timerInterval).Sub(now)))
		}
	}
	landed, closed := c.landed, c.closed
	c.landed = make(chan struct{})
	c.telling++
	c.mu.Unlock()

	if !closed {
		c.tell(l)
	}
	close(landed)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.telling--
}
