package cloudsqlconn

import (
	"context"
	"errors"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/failure"
)

var errMoved = errors.New("the instance has moved to another address")

// dialing is a Dial in progress. Its context ends with the caller's, with the
// dial timeout, at Close, and when the instance is found to have moved. It is
// one for all of that, since contexts are most of what a warm Dial adds to TLS.
type dialing struct {
	ctx      context.Context
	cancel   context.CancelFunc
	dialer   *Dialer
	caller   context.Context
	deadline time.Time

	// guarded by Dialer.mu
	connector *connector
	info      *admin.Info // what is being tried; nil: nothing
	moved     bool        // ctx has ended since info is of no use any more
	look      *time.Timer // asks for fresh metadata, should the try be slow
}

// begin begins a Dial that ends with ctx, or after timeout.
func (d *Dialer) begin(ctx context.Context, timeout time.Duration) *dialing {
	g := &dialing{dialer: d, caller: ctx, deadline: time.Now().Add(timeout)}
	d.mu.Lock()
	defer d.mu.Unlock()
	g.renewLocked()
	return g
}

// renewLocked gives the Dial a context that has not been ended by a move.
func (g *dialing) renewLocked() {
	if g.cancel != nil {
		g.cancel()
	}
	g.moved = false
	g.ctx, g.cancel = context.WithDeadlineCause(g.caller, g.deadline, failure.ErrDialTimeout)
	if g.dialer.connectors == nil { // closed
		g.cancel()
		return
	}
	g.dialer.dials[g] = true
}

// end ends the Dial.
func (g *dialing) end() {
	g.dialer.mu.Lock()
	defer g.dialer.mu.Unlock()
	delete(g.dialer.dials, g)
	g.cancel()
}

// try says that the instance is being tried with info from now on.
func (g *dialing) try(c *connector, info *admin.Info) {
	g.dialer.mu.Lock()
	defer g.dialer.mu.Unlock()
	g.connector, g.info = c, info
	deadline, _ := g.ctx.Deadline()
	if wait := min(slow, time.Until(deadline)/2); wait >= minSlow {
		g.look = time.AfterFunc(wait, func() { g.isSlow(info) })
	}
}

// tried says that the try has ended, and reports whether it was ended since the
// instance has moved. The Dial has a new context then.
func (g *dialing) tried() (moved bool) {
	g.dialer.mu.Lock()
	defer g.dialer.mu.Unlock()
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
// some already. If the instance has other addresses by then, [Dialer.moved] ends
// the try; if not, it gets all the time there is.
func (g *dialing) isSlow(info *admin.Info) {
	g.dialer.mu.Lock()
	c, over := g.connector, g.info != info
	if !over {
		if wait := c.looks.wait(); wait > 0 {
			g.look.Reset(wait)
			over = true
		}
	}
	g.dialer.mu.Unlock()
	switch newer := c.cache.Status().Value; {
	case newer != nil && newer != info:
		g.dialer.moved(c, newer)
	case !over && c.looks.slow():
		c.cache.Refresh(info)
	}
}

// moved ends the tries of Dials that are at addresses of which some are not the
// instance's any more, says newer: they go on at the new ones.
func (d *Dialer) moved(c *connector, newer *admin.Info) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for g := range d.dials {
		if g.connector == c && g.info != nil && !newer.HasAddrs(g.info) {
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
