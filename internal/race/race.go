// Package race opens a connection to a server that has several addresses, of
// which some may not answer.
//
// It follows RFC 8305 (Happy Eyeballs) in spirit: addresses are tried in the
// caller's order, each a moment after the one before, and the first to answer is
// taken. It knows nothing of Cloud SQL, nor of TLS.
package race

import (
	"context"
	"net"
	"slices"
	"sync"
	"time"
)

const (
	// maxStagger is how long a host is waited for before the next one is tried
	// beside it, minStagger the same for callers with little time. Source: RFC
	// 8305, section 5.
	maxStagger = 250 * time.Millisecond
	minStagger = 10 * time.Millisecond

	// MaxShare bounds how long hosts are waited for that have been silent before,
	// when all others have failed, and the step that is taken with a connection
	// while there are hosts that have not been tried. Otherwise everybody has all
	// the time there is.
	MaxShare = 5 * time.Second

	// grace is how long tries are waited for after their context has ended:
	// their own errors say more than that time is up.
	grace = 5 * time.Millisecond

	// minSilence is how long nothing must have come from a host until the
	// caller's deadline for that to mean something. Callers who go before theirs
	// have found out nothing in less than maxStagger.
	minSilence = 20 * time.Millisecond
)

// Race tries several hosts for one caller, and is not safe for concurrent use.
//
// Each host has a goroutine, which ends soon after [Race.Stop]. Nobody waits for
// it: an Open can be somebody else's code.
type Race struct {
	// Prompt says that Open returns as soon as its context ends. Then the first
	// host, which mostly is the only one to be tried, and the last need none. It
	// may be set before the first Next.
	Prompt bool

	ctx     context.Context // the caller's
	open    Open
	stagger time.Duration

	hosts      []string
	fresh      int       // how many of them, the first ones, have not been deferred
	started    int       // how many of them have been tried, or are under way
	latest     time.Time // when the last of these began
	running    []runner  // those under way
	runners    [3]runner // running is in it, unless there are more
	first      leader    // the first one: it need not be allocated
	early      []Try     // that have ended while the leader was under way
	failed     bool      // a try has failed
	unanswered []string  // see Unanswered

	tries  chan Try        // that have ended; has room for all; nil before the first goroutine
	racing context.Context // of those with goroutines
	cancel context.CancelCauseFunc

	mu      sync.Mutex // guards stopped
	stopped bool       // nobody takes from tries any more
}

// runner is a host under way.
type runner struct {
	nth   int // of Race.hosts
	began time.Time
}

// New returns a race that ends with ctx, of hosts of which all but the first
// ones, so many as are fresh, have been deferred: see [Memory.Order]. Nothing is
// opened before Next.
func New(ctx context.Context, hosts []string, fresh int, open Open) *Race {
	r := &Race{ctx: ctx, open: open, stagger: maxStagger, hosts: hosts, fresh: fresh}
	r.running = r.runners[:0]
	if deadline, ok := ctx.Deadline(); ok && len(hosts) > 1 {
		r.stagger = max(minStagger, min(maxStagger, time.Until(deadline)/time.Duration(len(hosts)+1)))
	}
	return r
}

// Next returns the next try that has ended. It reports false when no host is
// left. A caller that cannot use the connection, or has got none, calls it
// again, whereupon the next host is tried at once. Once ctx has ended, no more
// hosts are tried.
func (r *Race) Next() (Try, bool) {
	switch left := len(r.hosts) - r.started; {
	case len(r.early) > 0:
		t := r.early[0]
		r.early = r.early[1:]
		return t, true
	case len(r.running) > 0:
		if t, ok := r.arrived(); ok {
			return r.arrive(t), true
		}
		r.start()
	case left == 0 || r.ctx.Err() != nil && r.started > 0:
		return Try{}, false
	case !r.Prompt:
		r.start()
	case left == 1:
		return r.alone(), true
	default:
		if t, ok := r.lead(); ok {
			return t, true
		}
		return r.Next()
	}
	for len(r.running) > 0 {
		if t, ok := r.await(); ok {
			return r.arrive(t), true
		}
		r.start()
	}
	return Try{}, false
}

// alone tries the last host, with nobody left to race against.
func (r *Race) alone() Try {
	nth, ctx := r.begin(), r.ctx
	if r.failed && nth >= r.fresh {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, MaxShare, ErrShareUsed)
		defer cancel()
	}
	return r.arrive(r.try(ctx, nth, r.hosts[nth]))
}

// timers say when the next host is to start, and when those under way have used
// up their share of the time.
func (r *Race) timers() (turn, end <-chan time.Time) {
	switch {
	case r.started < len(r.hosts):
		turn = time.After(time.Until(r.latest.Add(r.stagger)))
	case r.failed && !slices.ContainsFunc(r.running, func(one runner) bool { return one.nth < r.fresh }):
		end = time.After(time.Until(r.latest.Add(MaxShare)))
	}
	return turn, end
}

// await waits for a try to end. It reports false when the next one is to start.
func (r *Race) await() (Try, bool) {
	turn, end := r.timers()
	select {
	case t := <-r.tries:
		return t, true
	case <-turn:
		return r.arrived() // on a busy machine both can be the case
	case <-end:
		r.cancel(ErrShareUsed)
	case <-r.ctx.Done():
		r.started = len(r.hosts)
	}
	select {
	case t := <-r.tries:
		return t, true
	case <-time.After(grace):
		return r.abandoned(), true
	}
}

// abandoned is a try that is under way still, though its context has ended.
func (r *Race) abandoned() Try {
	first := r.running[0]
	t := Try{Host: r.hosts[first.nth], Nth: first.nth, Err: context.Cause(r.racing)}
	if t.Err == nil { // a context ends before its children do
		t.Err = context.Cause(r.ctx)
	}
	t.finish(r.racing, first.began)
	return t
}

// arrived returns a try that has ended, if there is one.
func (r *Race) arrived() (Try, bool) {
	select {
	case t := <-r.tries:
		return t, true
	default:
		return Try{}, false
	}
}

// arrive notes that a try is not under way any more, and who had not answered by
// then.
func (r *Race) arrive(t Try) Try {
	r.running = slices.DeleteFunc(r.running, func(other runner) bool { return other.nth == t.Nth })
	r.failed = r.failed || t.Err != nil
	r.unanswered = nil
	for _, other := range r.running {
		if time.Since(other.began) >= r.stagger {
			r.unanswered = append(r.unanswered, r.hosts[other.nth])
		}
	}
	return t
}

// start starts a try of the next host, unless there is none, or time is up. The
// first has its own say about that.
func (r *Race) start() {
	if r.started == len(r.hosts) || r.started > 0 && r.ctx.Err() != nil {
		r.started = len(r.hosts)
		return
	}
	if r.tries == nil {
		r.tries = make(chan Try, 2*len(r.hosts)) // one that was overtaken can be tried again
		r.racing, r.cancel = context.WithCancelCause(r.ctx)
	}
	nth := r.begin()
	host := r.hosts[nth] // here: the list can grow
	go func() { r.deliver(r.try(r.racing, nth, host)) }()
}

// begin notes that the next host is under way.
func (r *Race) begin() (nth int) {
	nth = r.started
	r.started++
	r.latest = time.Now()
	r.running = append(r.running, runner{nth, r.latest})
	return nth
}

func (r *Race) try(ctx context.Context, nth int, host string) Try {
	t := Try{Host: host, Nth: nth}
	began := time.Now()
	t.Conn, t.Err = r.open(ctx, t.Host)
	t.finish(ctx, began)
	return t
}

// Use takes a step with a connection that Next has returned, and returns the try
// with what the step has made of it. As long as there are hosts that have not
// been tried, the connection is closed when the step has used up its share of the
// time.
func (r *Race) Use(t Try, step func(context.Context, Try) (net.Conn, error)) Try {
	var over *time.Timer
	if left := r.left(); left > 0 {
		share := MaxShare
		if deadline, ok := r.ctx.Deadline(); ok {
			share = min(share, time.Until(deadline)/time.Duration(left+1))
		}
		over = time.AfterFunc(share, t.close)
	}
	began := time.Now()
	t.Conn, t.Err = step(r.ctx, t)
	if over != nil && !over.Stop() { // it has been closed, whatever the step says
		t.close()
		if t.Cut = r.ctx.Err() == nil; t.Err == nil {
			t.Err = context.Cause(r.ctx)
		}
	}
	t.finish(r.ctx, began)
	r.failed = r.failed || t.Err != nil
	return t
}

// deliver hands a try over, or closes the connection if nobody wants it.
func (r *Race) deliver(t Try) {
	r.mu.Lock()
	stopped := r.stopped
	if !stopped {
		r.tries <- t
	}
	r.mu.Unlock()
	if stopped {
		t.close()
	}
}

// left is how many hosts are worth a part of the time that a step takes: those
// that have not been tried, nor deferred, and those that have answered.
func (r *Race) left() int { return max(0, r.fresh-r.started) + len(r.early) }

// Unanswered are the hosts that had not answered when Next last returned,
// although they had been given the time that a host has before the next one is
// tried.
func (r *Race) Unanswered() []string { return r.unanswered }

// Stop ends the tries under way, and closes the connections that were not
// taken. It returns at once.
func (r *Race) Stop() {
	if r.cancel != nil {
		r.cancel(nil)
	}
	r.mu.Lock()
	r.stopped = true
	r.mu.Unlock()
	for len(r.tries) > 0 {
		r.early = append(r.early, <-r.tries)
	}
	for _, t := range r.early {
		go t.close() // which may take its time
	}
}
