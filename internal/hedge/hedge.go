// Package hedge makes a call a second time beside the first when that is not
// answered for longer than such calls usually take, and takes the first
// answer. It knows nothing of what is called.
package hedge

import (
	"context"
	"errors"
	"time"
)

// grace is what a call gets to return after its context has ended: its own
// error says more than the context's.
const grace = 100 * time.Millisecond

var errGone = errors.New("the call has ended its goroutine")

// Weight is what the outcome of a call means for the call beside it.
type Weight int

// The weights, the lightest first.
const (
	// Unanswered is a failure on the way: the other call may get through.
	Unanswered Weight = iota
	// Passing is an answer that may be another one in a moment: a server out of
	// order. It says more than no answer.
	Passing
	// Final is an answer: there is nothing to wait for.
	Final
)

// Call is something that can be done a second time while it is being done.
type Call[T any] struct {
	// Do makes the call; second says that it is to go another way than the one
	// that is in flight, if there are two. What it returns beside an error is
	// passed on.
	Do func(ctx context.Context, second bool) (T, error)

	// Weigh says what an error of Do means. A success is Final.
	Weigh func(error) Weight

	// Hedged is told of each hedge.
	Hedged func()
}

// result is how a call has ended.
type result[T any] struct {
	value  T
	err    error
	weight Weight
	second bool
}

// Run makes a call and returns its answer, or that of a hedge. At most two are
// in flight; the context of one that is not needed any more is cancelled. When
// one fails without a final answer the other goes on, and gets company again
// some time later. When both have failed, the error that weighs more is
// returned, the first of two alike.
//
// Run returns soon after ctx ends, also if c.Do does not: that is left behind
// then until it does. An error that was known before says more than that of
// ctx, and is returned in its place.
func Run[T any](ctx context.Context, h *Hedger, c Call[T]) (T, error) {
	all, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan result[T], 2) // as many as there are calls: nobody blocks
	flying := 0
	launch := func(second, hedge bool) {
		flying++
		began := h.begin()
		go func() { // Hedger.Wait waits for it
			r := result[T]{second: second, err: errGone}
			defer func() { // deferred, since a call can end its goroutine
				h.end(began, r.err == nil)
				if hedge {
					h.landed()
				}
				results <- r
			}()
			if r.value, r.err = c.Do(all, second); r.err != nil {
				r.weight = c.Weigh(r.err)
			} else {
				r.weight = Final
			}
		}()
	}
	launch(false, false)

	var (
		told = result[T]{weight: -1} // the weightiest failure
		next = true                  // whether the next one is second
		turn chan<- struct{}         // nil while it is not time for another
		wait = h.delay()
	)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case r := <-results:
			flying--
			if r.weight > told.weight {
				told = r
			}
			if told.weight == Final || flying == 0 {
				return told.value, told.err
			}
			next, turn = r.second, nil
			timer.Reset(wait)
		case <-timer.C:
			turn = h.hedges()
		case turn <- struct{}{}:
			turn = nil
			if quiet := h.quietFor(); quiet > 0 {
				h.landed()
				timer.Reset(quiet)
				continue
			}
			c.Hedged()
			launch(next, true)
			wait *= 2 // until the next one, should one of these fail
		case <-ctx.Done():
			return last(ctx, results, flying, told)
		}
	}
}

// last returns what is known at the end of ctx, and what the calls in flight
// have to say if they return soon.
func last[T any](ctx context.Context, results <-chan result[T], flying int, told result[T]) (T, error) {
	timer := time.NewTimer(grace)
	defer timer.Stop()
	for over := false; !over && flying > 0; {
		select {
		case r := <-results:
			flying--
			if r.weight > told.weight {
				told = r
			}
		case <-timer.C:
			over = true
		}
	}
	if told.weight < 0 {
		return told.value, ctx.Err()
	}
	return told.value, told.err
}
