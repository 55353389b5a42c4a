package refresh

import (
	"context"
	"time"
)

// Hooks are told what a [Cache] does. They are called without its lock held,
// hold up whoever they are about, and must not call Close. Nil ones are not
// called.
type Hooks[T any] struct {
	// Waiting is told that a caller has to wait, with its context. What it
	// returns is told how the waiting has ended.
	Waiting func(context.Context) (done func(error))

	// Landed is told how a fetch has ended, before those who wait for it are.
	Landed func(Landing[T])
}

// Landing is how a fetch has ended.
type Landing[T any] struct {
	Value    *T            // nil if it failed
	Expiry   time.Time     // of Value; zero: never
	Old      *T            // the value before, nil if there was none; it may have expired
	Left     time.Duration // how much longer Old can be used; 0: it cannot
	Err      error
	Attempts int // fetches that failed since the last success before this one, this one included if it failed
}

// Observe sets the hooks. It is called before anything else.
func (c *Cache[T]) Observe(h Hooks[T]) { c.hooks = h }

// waiting tells the hook that a caller waits.
func (c *Cache[T]) waiting(ctx context.Context) (done func(error)) {
	if c.hooks.Waiting == nil {
		return func(error) {}
	}
	return c.hooks.Waiting(ctx)
}

// tell tells the hook how a fetch has ended.
func (c *Cache[T]) tell(l Landing[T]) {
	if c.hooks.Landed != nil {
		c.hooks.Landed(l)
	}
}
