package race

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// errOvertaken is the cause of the context of a leader that another host has
// overtaken.
var errOvertaken = errors.New("another address has answered first")

// leader is a host that is tried in the caller's goroutine. Should it take long,
// other hosts are tried by an overtaker, to which the race belongs until the
// leader has ended.
type leader struct {
	stop  context.CancelCauseFunc
	ended chan struct{} // closed when the leader has ended
	back  chan struct{} // closed when the race is the caller's again

	mu   sync.Mutex // guards everything below
	over bool       // the leader has ended
	long bool       // there is an overtaker
}

// lead tries the next host, which is not the last. It reports false if another
// one has answered first.
func (r *Race) lead() (Try, bool) {
	nth := r.begin()
	l := &r.first
	if nth > 0 {
		l = new(leader)
	}
	var ctx context.Context
	ctx, l.stop = context.WithCancelCause(r.ctx)
	defer l.stop(nil)
	t := r.follow(ctx, l, nth)
	if t.Err != nil && context.Cause(ctx) == errOvertaken {
		// Others have shown that it is slow. Should they be of no use, it gets
		// another chance.
		r.running = slices.DeleteFunc(r.running, func(other runner) bool { return other.nth == nth })
		r.hosts = append(r.hosts[:len(r.hosts):len(r.hosts)], t.Host)
		return Try{}, false
	}
	return r.arrive(t), true
}

// follow tries the host of a leader, with an overtaker behind it after a moment.
func (r *Race) follow(ctx context.Context, l *leader, nth int) Try {
	turn := time.AfterFunc(r.stagger, func() { r.overtake(l) })
	defer func() { // deferred, since an Open can end its goroutine
		if !turn.Stop() {
			l.end()
		}
	}()
	return r.try(ctx, nth, r.hosts[nth])
}

// end says that the leader has ended, and waits until the race is the caller's.
func (l *leader) end() {
	l.mu.Lock()
	l.over = true
	long := l.long
	l.mu.Unlock()
	if long {
		close(l.ended)
		<-l.back
	}
}

// overtake tries other hosts beside the leader, until that has ended or one of
// the others has answered.
func (r *Race) overtake(l *leader) {
	l.mu.Lock()
	if l.over {
		l.mu.Unlock()
		return
	}
	l.long, l.ended, l.back = true, make(chan struct{}), make(chan struct{})
	l.mu.Unlock()
	defer close(l.back)
	for {
		r.start()
		turn, end := r.timers()
		select {
		case t := <-r.tries:
			r.early = append(r.early, r.arrive(t))
			if t.Err == nil {
				l.stop(errOvertaken)
				return
			}
		case <-turn:
		case <-end:
			l.stop(ErrShareUsed)
			<-l.ended
			return
		case <-l.ended:
			return
		}
	}
}
