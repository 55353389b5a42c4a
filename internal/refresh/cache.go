// Package refresh keeps one expiring value fresh.
//
// A [Cache] fetches its value when somebody first asks, serves it until it
// expires, and replaces it before that: by a timer, or lazily when asked. All
// callers share one fetch, which belongs to the cache and not to any of them.
// When a value is due is in policy.go. The package knows nothing of what the value is.
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

// ErrExpired is the error of a fetch whose value is at its end when it comes, by
// the local clock.
var ErrExpired = errors.New("fetched value has expired, or is just about to; is the local clock right?")

var errNoValue = errors.New("the fetch returned neither a value nor an error")

// Func fetches a value that can be used until expiry; a zero expiry means for
// ever. It must return soon after ctx ends.
type Func[T any] func(ctx context.Context) (v *T, expiry time.Time, err error)

// Cache holds one value of type T. Its methods are safe for concurrent use.
type Cache[T any] struct {
	policy Policy
	fetch  Func[T]
	hooks  Hooks[T]
	ctx    context.Context // ends at Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // counts fetches

	troubled atomic.Bool // Confirm has something to do

	mu        sync.Mutex    // guards everything below; never held over a fetch
	cur       *entry[T]     // nil if there is no value
	flight    *flight       // nil if nothing is being fetched
	landed    chan struct{} // closed when the next flight has ended
	fail      *failures     // nil after a success
	timer     *time.Timer
	ticked    time.Time // when the timer last started a fetch
	alarm     time.Time // when the timer is to start the next one, by the wall clock
	paced     bool      // the timer waits for its turn among other caches
	asked     time.Time // when somebody last asked
	forced    time.Time // when a fetch was last forced
	fruitless int       // forced fetches since the last Confirm
	telling   int       // calls of the hook Landed that have not returned
	history   []Attempt // the last that have ended
	closed    bool
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
	return &Cache[T]{policy: p, fetch: fetch, ctx: ctx, cancel: cancel, landed: make(chan struct{}), asked: time.Now()}
}

// Get returns the value: at once if there is one that can be used, otherwise
// after the one fetch that all callers share. It waits through transient
// failures until ctx ends. Errors are a [*Failure], or ErrClosed.
func (c *Cache[T]) Get(ctx context.Context) (*T, error) {
	return c.get(ctx, nil, false)
}

// Next is Get for a caller that could not use old and has said so with
// Refresh or Invalidate: it waits for another value, through transient
// failures too, and never returns old. While old can still be used it returns
// ErrUnchanged, unless another is being fetched or the last fetch failed.
func (c *Cache[T]) Next(ctx context.Context, old *T) (*T, error) {
	return c.get(ctx, old, false)
}

// Await is Next for a caller with good reason to believe that there is another
// value: if forced fetches are being spaced, it waits for the next one.
func (c *Cache[T]) Await(ctx context.Context, old *T) (*T, error) {
	return c.get(ctx, old, true)
}

func (c *Cache[T]) get(ctx context.Context, not *T, patient bool) (*T, error) {
	a := c.advise(ctx, not, false, patient)
	if a.value != nil || a.err != nil {
		return a.value, a.err
	}
	done := c.waiting(ctx)
	for a.value == nil && a.err == nil {
		c.wait(ctx, a)
		a = c.advise(ctx, not, true, patient)
	}
	done(a.err)
	return a.value, a.err
}

// advice is what a caller is to do next: take the value, take the error, or wait
// until a fetch has landed or it is time for another.
type advice[T any] struct {
	value  *T
	err    error
	landed <-chan struct{}
	until  time.Time // zero: there is a fetch to wait for
}

func (c *Cache[T]) advise(ctx context.Context, not *T, waited, patient bool) advice[T] {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return advice[T]{err: ErrClosed}
	}
	now := time.Now()
	if c.fail != nil && !c.fail.verdict.Terminal && !waited && now.Sub(c.asked) > maxGap {
		c.fail.inARow = 1 // nobody waited through this outage: begin with short pauses
	}
	c.asked = now

	usable := c.cur.usable(now)
	if usable && c.cur.value != not {
		if c.cur.suspect && !waited {
			c.forceLocked(now)
			if c.flight != nil {
				return advice[T]{landed: c.landed}
			}
		}
		if c.isDueLocked(now) && c.flight == nil && !now.Before(c.retryAtLocked()) {
			c.startLocked(now)
		}
		return advice[T]{value: c.cur.value}
	}

	if patient && usable && ctx.Err() == nil {
		c.forceLocked(now)
	}
	switch {
	case usable && c.flight == nil && c.fail == nil && (!patient || ctx.Err() != nil):
		return advice[T]{err: ErrUnchanged}
	case usable && c.flight == nil && c.fail == nil:
		return advice[T]{landed: c.landed, until: c.forcedAgainLocked()}
	case ctx.Err() != nil:
		return advice[T]{err: c.reportLocked(now, ContextError(ctx))}
	case c.flight != nil && !c.flight.suspended(now, c.policy.Timeout):
		return advice[T]{landed: c.landed}
	case c.flight != nil, c.fail == nil, c.fail.slept:
		// An attempt that the machine slept through has dead connections, and
		// must not decide for a caller that has time left.
		return advice[T]{landed: c.startLocked(now)}
	}
	return c.retryLocked(ctx, now)
}

// retryLocked decides what a caller does after a failure.
func (c *Cache[T]) retryLocked(ctx context.Context, now time.Time) advice[T] {
	at := c.retryAtLocked()
	if deadline, ok := ctx.Deadline(); ok && deadline.Before(at) && !c.fail.verdict.Terminal {
		// This caller cannot wait for its turn: it gets an attempt of its own,
		// half-way to its deadline, so that the attempt has time too. But if
		// the source wants to be left alone for longer than that, it is told
		// so at once.
		if asked := c.fail.verdict.RetryAfter; asked > 0 && deadline.Before(c.fail.at.Add(asked)) {
			return advice[T]{err: c.fail.report(now, nil)}
		}
		at = c.fail.at.Add(max(transientGap, c.fail.verdict.RetryAfter, deadline.Sub(c.fail.at)/2))
	}
	switch {
	case !now.Before(at):
		return advice[T]{landed: c.startLocked(now)}
	case c.fail.verdict.Terminal:
		return advice[T]{err: c.fail.report(now, nil)}
	}
	return advice[T]{landed: c.landed, until: at}
}

// wait returns when it is time to ask for advice again: ctx may have ended, or the
// cache been closed.
func (c *Cache[T]) wait(ctx context.Context, a advice[T]) {
	var turn <-chan time.Time
	if !a.until.IsZero() {
		timer := time.NewTimer(time.Until(a.until))
		defer timer.Stop()
		turn = timer.C
	}
	select {
	case <-a.landed:
	case <-turn:
	case <-ctx.Done():
	case <-c.ctx.Done():
	}
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

// Hasten says that there is a reason to fetch that is not one of those there were: the
// next fetch that is forced is no more than 1 s apart from the last one.
func (c *Cache[T]) Hasten() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fruitless = min(c.fruitless, 1)
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
// lifetimes of its value, 15 minutes at least, nothing is being fetched, and
// the source does not want to be left alone. What else the cache remembers of
// failures counts for nothing by then.
func (c *Cache[T]) Idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	return c.flight == nil && c.telling == 0 && c.idleLocked(now) && !now.Before(c.retryAtLocked())
}

func (c *Cache[T]) idleLocked(now time.Time) bool {
	keep := maxUnattended
	if c.cur != nil {
		keep = max(keep, 2*c.cur.life)
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

func (c *Cache[T]) failedLocked(now time.Time, f failures) {
	f.attempts, f.inARow, f.jitter = 1, 1, rand.Float64()
	if c.fail != nil {
		f.attempts += c.fail.attempts
		f.inARow += c.fail.inARow
	}
	c.fail = &f
	if !c.policy.Lazy {
		c.armLocked(f.retryAt(false).Sub(now))
	}
}
