package resolve

import (
	"context"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/foreign"
)

// lookup is a question that is asked again and again, by one at a time. It
// belongs to a Resolver, whose mutex guards it.
type lookup[T any] struct {
	// ask asks. What it tells before it returns is why the answer may be a
	// failure, for those who do not wait for that.
	ask  func(ctx context.Context, tell func(error)) (T, error)
	last *flight[T] // nil if it has never been asked
}

// flight is a question that was asked.
type flight[T any] struct {
	began  time.Time
	landed chan struct{} // closed when there is an answer
	value  T             // written before landed is closed
	err    error         // likewise
	told   error         // what is known of a failure; nil: nothing. Guarded by Resolver.mu
}

func (f *flight[T]) hasLanded() bool {
	select {
	case <-f.landed:
		return true
	default:
		return false
	}
}

// start asks the question, unless somebody else has: is asking it, or has asked
// it since seen, which is what the caller has seen of it in the same Resolve.
func start[T any](r *Resolver, l *lookup[T], seen *flight[T]) *flight[T] {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f := l.last; f != nil && (!f.hasLanded() || seen != nil && f != seen) {
		return f
	}
	f := &flight[T]{began: time.Now(), landed: make(chan struct{})}
	l.last = f
	if r.closed {
		f.err = ErrClosed
		close(f.landed)
		return f
	}
	r.wg.Go(func() {
		ctx, cancel := context.WithTimeout(r.ctx, lookupTimeout)
		defer cancel()
		defer close(f.landed)
		f.value, f.err = foreign.Call(ctx, func() (T, error) {
			return l.ask(ctx, func(err error) {
				r.mu.Lock()
				defer r.mu.Unlock()
				f.told = err
			})
		})
	})
	return f
}
