// Package dialing has the Dials in progress: what ends each of them, and which of them
// are reason to look whether an instance has moved. It knows nothing of how an instance
// is reached.
package dialing

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/failure"
	"github.com/cloudsqlconn/cloudsqlconn/internal/refresh"
)

// ErrMoved is why a try was ended at addresses that the instance has left.
var ErrMoved = errors.New("the instance has moved to another address")

// Instance is what Dials to one instance have in common.
type Instance struct {
	Cache *refresh.Cache[admin.Info]
	Looks Looks
}

// Set has the Dials in progress of one Dialer. Its zero value has none. Its methods
// are safe for concurrent use.
type Set struct {
	mu     sync.Mutex // guards everything below, and the Dials
	dials  map[*Dial]bool
	closed bool
}

// Close ends all Dials, and those that are yet to begin.
func (s *Set) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for g := range s.dials {
		g.cancel()
	}
}

// Dial is a Dial in progress. Its context ends with the caller's, with the dial
// timeout, at Close, and when the instance is found to have moved. It is one for all
// of that, since contexts are most of what a warm Dial adds to TLS.
type Dial struct {
	// Context is the one to use until the end of the next try.
	Context context.Context

	cancel   context.CancelFunc
	set      *Set
	caller   context.Context
	deadline time.Time

	// guarded by Set.mu
	to    *Instance
	info  *admin.Info // what is being tried; nil: nothing
	moved bool        // ctx has ended since info is of no use any more
	look  *time.Timer // asks for fresh metadata, should the try be slow
}

// Begin begins a Dial that ends with ctx, or after timeout.
func (s *Set) Begin(ctx context.Context, timeout time.Duration) *Dial {
	g := &Dial{set: s, caller: ctx, deadline: time.Now().Add(timeout)}
	s.mu.Lock()
	defer s.mu.Unlock()
	g.renewLocked()
	return g
}

// renewLocked gives the Dial a context that has not been ended by a move.
func (g *Dial) renewLocked() {
	if g.cancel != nil {
		g.cancel()
	}
	g.moved = false
	g.Context, g.cancel = context.WithDeadlineCause(g.caller, g.deadline, failure.ErrDialTimeout)
	if g.set.closed {
		g.cancel()
		return
	}
	if g.set.dials == nil {
		g.set.dials = map[*Dial]bool{}
	}
	g.set.dials[g] = true
}

// End ends the Dial.
func (g *Dial) End() {
	g.set.mu.Lock()
	defer g.set.mu.Unlock()
	delete(g.set.dials, g)
	g.cancel()
}

// Try says that the instance is being tried with info from now on.
func (g *Dial) Try(to *Instance, info *admin.Info) {
	g.set.mu.Lock()
	defer g.set.mu.Unlock()
	g.to, g.info = to, info
	deadline, _ := g.Context.Deadline()
	if wait := min(slow, time.Until(deadline)/2); wait >= minSlow {
		g.look = time.AfterFunc(wait, func() { g.isSlow(info) })
	}
}

// Tried says that the try has ended, and reports whether it was ended since the
// instance has moved. The Dial has a new context then.
func (g *Dial) Tried() (moved bool) {
	g.set.mu.Lock()
	defer g.set.mu.Unlock()
	g.info = nil
	if g.look != nil {
		g.look.Stop()
		g.look = nil
	}
	if moved = g.moved; moved {
		g.renewLocked()
	}
	return moved
}

// isSlow asks for fresh metadata, unless the try with info has ended, or there is
// some already. If the instance has other addresses by then, [Set.Moved] ends
// the try; if not, it gets all the time there is.
func (g *Dial) isSlow(info *admin.Info) {
	g.set.mu.Lock()
	to, over := g.to, g.info != info
	if !over {
		if wait := to.Looks.wait(); wait > 0 {
			g.look.Reset(wait)
			over = true
		}
	}
	g.set.mu.Unlock()
	switch newer := to.Cache.Status().Value; {
	case newer != nil && newer != info:
		g.set.Moved(to, newer)
	case !over && to.Looks.slow():
		to.Cache.Refresh(info)
	}
}

// Moved ends the tries of Dials that are at addresses of which some are not the
// instance's any more, says newer: they go on at the new ones.
func (s *Set) Moved(to *Instance, newer *admin.Info) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for g := range s.dials {
		if g.to == to && g.info != nil && !newer.HasAddrs(g.info) {
			g.moved = true
			g.cancel()
		}
	}
}

const (
	// slow is when a try has taken so long that the instance may have moved: a
	// SYN that was lost once is repeated after 1 s. Half the time that is left
	// counts as slow too, from minSlow on.
	slow    = 2 * time.Second
	minSlow = 250 * time.Millisecond
)
