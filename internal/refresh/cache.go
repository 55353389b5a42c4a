// Package refresh keeps one expiring value fresh.
//
// A [Cache] fetches its value when somebody first asks, serves it until it
// expires, and replaces it before that: by a timer, or lazily when asked. All
// callers share one fetch, which belongs to the cache and not to any of them.
// The package knows nothing of what the value is.
package refresh

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// ErrClosed is returned by the methods of a closed [Cache].
var ErrClosed = errors.New("refresh: cache is closed")

// ErrUnchanged is returned by [Cache.Next] when no newer value can be had now.
var ErrUnchanged = errors.New("refresh: no newer value")

var errExpiredOnArrival = errors.New("fetched value has already expired; is the local clock right?")

// Func fetches a value that can be used until expiry; a zero expiry means for
// ever. It must return soon after ctx ends.
type Func[T any] func(ctx context.Context) (v *T, expiry time.Time, err error)

// Cache holds one value of type T. Its methods are safe for concurrent use.
type Cache[T any] struct {
	policy Policy
	fetch  Func[T]
	ctx    context.Context // ends at Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // counts fetches

	troubled atomic.Bool // Confirm has something to do

	mu        sync.Mutex // guards everything below; never held over a fetch
	cur       *entry[T]  // nil if there is no value
	flight    *flight    // nil if nothing is being fetched
	fail      *failure   // nil after a success
	timer     *time.Timer
	ticked    time.Time // when the timer last started a fetch
	asked     time.Time // when somebody last asked
	forced    time.Time // when a fetch was last forced
	fruitless int       // forced fetches since the last Confirm
	closed    bool
}

// flight is a fetch in progress.
type flight struct {
	began  time.Time
	cancel context.CancelFunc
	done   chan struct{} // closed when the fetch has ended
	slept  bool          // set before done is closed: it failed because the machine slept
}

// suspended reports whether the machine has slept since the flight began.
func (f *flight) suspended(now time.Time, timeout time.Duration) bool {
	return suspended(now.Round(0).Sub(f.began.Round(0)), now.Sub(f.began), timeout)
}

// New returns a cache that has fetched nothing yet.
func New[T any](p Policy, fetch Func[T]) *Cache[T] {
	if p.Timeout <= 0 {
		p.Timeout = defaultTimeout
	}
	if p.Judge == nil {
		p.Judge = func(error) Verdict { return Verdict{} }
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Cache[T]{policy: p, fetch: fetch, ctx: ctx, cancel: cancel, asked: time.Now()}
}

// Get returns the value: at once if there is one that can be used, otherwise
// after the one fetch that all callers share. It waits through transient
// failures until ctx ends. Errors are a [*Failure], or ErrClosed.
func (c *Cache[T]) Get(ctx context.Context) (*T, error) {
	return c.get(ctx, nil)
}

// Next is Get for a caller that could not use old and has said so with
// Refresh or Invalidate: it waits for another value and never returns old.
// When none is being fetched, and none may be yet, it returns ErrUnchanged.
func (c *Cache[T]) Next(ctx context.Context, old *T) (*T, error) {
	return c.get(ctx, old)
}

func (c *Cache[T]) get(ctx context.Context, not *T) (*T, error) {
	var waited *flight // the last flight that this caller waited for
	for {
		s := c.step(ctx, not, waited)
		switch {
		case s.value != nil || s.err != nil:
			return s.value, s.err
		case s.flight == nil:
			if err := c.pause(ctx, s.until); err != nil {
				return nil, err
			}
			continue
		}
		select {
		case <-s.flight.done:
			waited = s.flight
		case <-ctx.Done():
			return nil, c.gaveUp(ctx)
		case <-c.ctx.Done():
			return nil, ErrClosed
		}
	}
}

// step is what a caller does next: take the value, take the error, wait for
// the flight, or, when there is none of these, pause until a time.
type step[T any] struct {
	value  *T
	err    error
	flight *flight
	until  time.Time
}

func (c *Cache[T]) step(ctx context.Context, not *T, waited *flight) step[T] {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return step[T]{err: ErrClosed}
	}
	now := time.Now()
	if c.fail != nil && now.Sub(c.asked) > maxGap && !c.fail.verdict.Terminal {
		c.fail.inARow = 1 // nobody waited through this outage: begin with short pauses
	}
	c.asked = now

	usable := c.cur.usable(now)
	if usable && c.cur.value != not {
		if c.cur.suspect && waited == nil {
			c.forceLocked(now)
			if c.flight != nil {
				return step[T]{flight: c.flight}
			}
		}
		if c.cur.isDue(now) && c.flight == nil && !now.Before(c.retryAtLocked()) {
			c.startLocked(now)
		}
		return step[T]{value: c.cur.value}
	}

	if c.flight != nil && c.flight.suspended(now, c.policy.Timeout) {
		// Its connections are dead, and it must not decide for a caller that
		// has time left.
		c.flight.cancel()
		c.flight = nil
	}
	switch {
	case c.flight != nil:
		return step[T]{flight: c.flight}
	case usable && c.fail == nil:
		return step[T]{err: ErrUnchanged}
	case c.fail == nil, waited != nil && waited.slept:
		return step[T]{flight: c.startLocked(now)}
	case waited != nil && c.fail.verdict.Terminal:
		return step[T]{err: c.fail.report(now)}
	}
	return c.retryLocked(ctx, now)
}

// retryLocked decides what a caller does after a failure that it did not wait
// for, or that waiting may mend.
func (c *Cache[T]) retryLocked(ctx context.Context, now time.Time) step[T] {
	at := c.retryAtLocked()
	deadline, hasDeadline := ctx.Deadline()
	switch tooLate := hasDeadline && deadline.Before(at); {
	case !now.Before(at):
		return step[T]{flight: c.startLocked(now)}
	case c.fail.verdict.Terminal, tooLate && c.fail.verdict.RetryAfter > 0:
		return step[T]{err: c.fail.report(now)}
	case tooLate:
		// This caller cannot wait for its turn: it gets an attempt of its own,
		// one a second at the most.
		at = c.fail.at.Add(transientGap)
		if !now.Before(at) {
			return step[T]{flight: c.startLocked(now)}
		}
	}
	return step[T]{until: at}
}

// pause waits until t, or for the end of ctx or of the cache.
func (c *Cache[T]) pause(ctx context.Context, t time.Time) error {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return c.gaveUp(ctx)
	case <-c.ctx.Done():
		return ErrClosed
	}
}

// gaveUp is the error of a caller whose ctx ended.
func (c *Cache[T]) gaveUp(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := &Failure{Ctx: context.Cause(ctx)}
	if c.fail != nil {
		e.Err, e.Attempts, e.Age = c.fail.err, c.fail.attempts, time.Since(c.fail.at)
	}
	return e
}

// Refresh says that old led nowhere: a fetch starts if old is still current,
// and old is served meanwhile. Fetches that are forced without a Confirm
// between them are spaced 1 s apart, doubling to 30 s.
func (c *Cache[T]) Refresh(old *T) {
	c.doubt(old, false)
}

// Invalidate is Refresh for a value that was found to be wrong: the next Get
// waits for the fetch. If that fails, or may not start yet, old is served
// while it lasts: it may still be good elsewhere, and nothing better is known.
func (c *Cache[T]) Invalidate(old *T) {
	c.doubt(old, true)
}

func (c *Cache[T]) doubt(old *T, suspect bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.cur == nil || c.cur.value != old {
		return
	}
	c.troubled.Store(true)
	c.cur.suspect = c.cur.suspect || suspect
	c.forceLocked(time.Now())
}

// Confirm says that v works. It costs one atomic load when nothing was in
// doubt.
func (c *Cache[T]) Confirm(v *T) {
	if !c.troubled.Load() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cur == nil || c.cur.value != v {
		return
	}
	c.troubled.Store(false)
	c.cur.suspect = false
	c.fruitless = 0
}

// Idle reports whether the cache can be let go: nobody has asked for two
// lifetimes of its value, and nothing is being fetched. What it remembers of
// failures counts for nothing by then.
func (c *Cache[T]) Idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.flight == nil && c.idleLocked(time.Now())
}

func (c *Cache[T]) idleLocked(now time.Time) bool {
	keep := maxUnattended
	if c.cur != nil && !c.cur.usableUntil.IsZero() {
		keep = max(keep, 2*c.cur.usableUntil.Sub(c.cur.fetched))
	}
	return now.Sub(c.asked) > keep
}

// Close cancels the fetch in progress, fails every waiting caller with
// ErrClosed, and returns when the fetch has ended. It can be called again.
func (c *Cache[T]) Close() {
	c.mu.Lock()
	c.closed = true
	if c.timer != nil {
		c.timer.Stop()
	}
	c.mu.Unlock()
	c.cancel()
	c.wg.Wait()
}

// forceLocked starts a fetch that somebody's bad luck asks for.
func (c *Cache[T]) forceLocked(now time.Time) {
	if c.flight != nil || now.Before(c.retryAtLocked()) {
		return
	}
	if c.fruitless > 0 && now.Before(c.forced.Add(gap(transientGap, maxGap, c.fruitless))) {
		return
	}
	c.fruitless++
	c.forced = now
	c.startLocked(now)
}

// retryAtLocked is when the next attempt may start for a caller: now, unless
// the last one failed.
func (c *Cache[T]) retryAtLocked() time.Time {
	if c.fail == nil {
		return time.Time{}
	}
	return c.fail.retryAt(maxGap)
}

func (c *Cache[T]) startLocked(now time.Time) *flight {
	ctx, cancel := context.WithTimeout(c.ctx, c.policy.Timeout)
	f := &flight{began: now, cancel: cancel, done: make(chan struct{})}
	c.flight = f
	c.wg.Go(func() {
		defer cancel()
		v, expiry, err := c.fetch(ctx)
		c.land(f, v, expiry, err)
	})
	return f
}

// land takes in what a fetch brought.
func (c *Cache[T]) land(f *flight, v *T, expiry time.Time, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer close(f.done)
	if c.flight != f {
		return // given up, another has taken its place
	}
	c.flight = nil
	if c.closed {
		return
	}
	now := time.Now()
	e := newEntry(v, now, expiry)
	if err == nil && !e.usable(now) {
		err = errExpiredOnArrival
	}
	if err != nil {
		f.slept = f.suspended(now, c.policy.Timeout)
		c.failedLocked(now, err)
		return
	}
	c.cur, c.fail = e, nil
	if !c.policy.Lazy && !e.usableUntil.IsZero() {
		wait := spread(e.due.Sub(e.fetched), e.usableUntil.Sub(e.fetched), rand.Float64())
		c.armLocked(max(wait, c.ticked.Add(timerInterval).Sub(now)))
	}
}

func (c *Cache[T]) failedLocked(now time.Time, err error) {
	if c.fail == nil {
		c.fail = &failure{}
	}
	c.fail.err, c.fail.at, c.fail.verdict = err, now, c.policy.Judge(err)
	c.fail.attempts++
	c.fail.inARow++
	if !c.policy.Lazy && c.cur.usable(now) {
		wait := c.fail.retryAt(maxUnattended).Sub(now)
		c.armLocked(spread(wait, 2*wait, rand.Float64()))
	}
}

func (c *Cache[T]) armLocked(wait time.Duration) {
	if c.timer == nil {
		c.timer = time.AfterFunc(wait, c.tick)
		return
	}
	c.timer.Reset(wait)
}

// tick starts the fetch that is due, unless there is nothing left to keep
// fresh, or nobody to keep it fresh for.
func (c *Cache[T]) tick() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if c.closed || c.flight != nil || !c.cur.usable(now) {
		return
	}
	if c.idleLocked(now) {
		c.cur = nil
		return
	}
	c.ticked = now
	c.startLocked(now)
}
