// Package foreign calls functions of the program that uses this library, which
// should return when their context ends, and may not. It knows
// nothing of what they do.
package foreign

import (
	"context"
	"time"
)

// grace is how long a call is waited for after its context has ended: its own
// error says more than the context's.
const grace = 5 * time.Millisecond

// Call calls f, which has ctx, and does not wait for it for longer than ctx
// lasts, and a moment. A call that does not end keeps its goroutine.
func Call[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	results := make(chan result, 1)
	go func() {
		v, err := f()
		results <- result{v, err}
	}()
	select {
	case r := <-results:
		return r.value, r.err
	case <-ctx.Done():
	}
	select {
	case r := <-results:
		return r.value, r.err
	case <-time.After(grace):
		return *new(T), context.Cause(ctx)
	}
}
