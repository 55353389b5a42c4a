package auth

import (
	"context"
	"errors"
	"sync"
)

// shared is a piece of work that callers join while it is under way. The zero
// value is ready for use.
type shared[T any] struct {
	mu  sync.Mutex // guards run; never held over the work
	run *run[T]    // under way; nil: none
}

// run is one time that the work is done. Its result stands once done is closed.
type run[T any] struct {
	done  chan struct{}
	value T
	err   error
}

// errGone is the error of work that ended its goroutine, as t.FailNow does in a
// test's token source.
var errGone = errors.New("the work ended its goroutine")

// do returns the result of f, which is called now unless it is being called
// already. ctx bounds the wait, and not the work. Once life has ended, nothing
// is begun or waited for any more: ErrClosed.
func (s *shared[T]) do(ctx, life context.Context, f func() (T, error)) (T, error) {
	var none T
	if life.Err() != nil {
		return none, ErrClosed
	}
	r := s.join(f)
	select {
	case <-r.done:
		if r.err != nil && life.Err() != nil { // it may have ended because of that
			return none, ErrClosed
		}
		return r.value, r.err
	case <-life.Done():
		return none, ErrClosed
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

// join returns the run under way, or begins one.
func (s *shared[T]) join(f func() (T, error)) *run[T] {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run == nil {
		s.run = &run[T]{done: make(chan struct{}), err: errGone}
		// No WaitGroup: the work ends with the context that f has, but nothing
		// can end a caller's token source that hangs, or the reading of a file
		// on a server that is gone.
		go s.work(s.run, f)
	}
	return s.run
}

func (s *shared[T]) work(r *run[T], f func() (T, error)) {
	defer func() { // deferred, since f can end its goroutine
		s.mu.Lock()
		s.run = nil
		s.mu.Unlock()
		close(r.done)
	}()
	r.value, r.err = f()
}
