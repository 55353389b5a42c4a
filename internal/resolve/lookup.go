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
	last *question[T] // nil if it has never been asked
}

// question is one that was asked.
type question[T any] struct {
	began time.Time
	done  chan struct{} // closed when there is an answer
	value T             // written before done is closed
	err   error         // likewise
	told  error         // what is known of a failure; nil: nothing. Guarded by Resolver.mu
}

func (q *question[T]) answered() bool {
	select {
	case <-q.done:
		return true
	default:
		return false
	}
}

// start asks the question, unless somebody else has: is asking it, or has asked
// it since seen, which is what the caller has seen of it in the same Resolve.
func start[T any](r *Resolver, l *lookup[T], seen *question[T]) *question[T] {
	r.mu.Lock()
	defer r.mu.Unlock()
	if q := l.last; q != nil && (!q.answered() || seen != nil && q != seen) {
		return q
	}
	q := &question[T]{began: time.Now(), done: make(chan struct{})}
	l.last = q
	if r.closed {
		q.err = ErrClosed
		close(q.done)
		return q
	}
	r.wg.Go(func() {
		ctx, cancel := context.WithTimeout(r.ctx, lookupTimeout)
		defer cancel()
		defer close(q.done)
		q.value, q.err = foreign.Call(ctx, func() (T, error) {
			return l.ask(ctx, func(err error) {
				r.mu.Lock()
				defer r.mu.Unlock()
				q.told = err
			})
		})
	})
	return q
}
