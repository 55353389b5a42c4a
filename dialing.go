package cloudsqlconn

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
)

var (
	// errDialTimeout is the cause of a context that the dial timeout ended.
	errDialTimeout = fmt.Errorf("the dial timeout is over: %w", context.DeadlineExceeded)

	errMoved = errors.New("the instance has moved to another address")
)

const (
	// slow is when a try has taken so long that the instance may have moved: a
	// SYN that was lost once is repeated after 1 s.
	slow = 2 * time.Second

	// lookInterval spaces the looks at an instance that is slow but has not
	// moved.
	lookInterval = 10 * time.Second
)

// dialing is a Dial in progress. Its context ends with the caller's, with the
// dial timeout, at Close, and when the instance is found to have moved. It is
// one for all of that, since contexts are most of what a warm Dial adds to TLS.
type dialing struct {
	ctx      context.Context
	dialer   *Dialer
	caller   context.Context
	deadline time.Time

	cancel context.CancelFunc

	looking sync.WaitGroup                     // counts looks
	endLook atomic.Pointer[context.CancelFunc] // of the one under way
	over    atomic.Bool                        // the try has ended, and looks are to end
	moved   bool                               // a look has ended ctx; to be read when none is under way
}

// begin begins a Dial that ends with ctx, or after timeout.
func (d *Dialer) begin(ctx context.Context, timeout time.Duration) *dialing {
	g := &dialing{dialer: d, caller: ctx, deadline: time.Now().Add(timeout)}
	g.renew()
	return g
}

// renew gives the Dial a context that has not been ended by a look.
func (g *dialing) renew() {
	g.dialer.mu.Lock()
	defer g.dialer.mu.Unlock()
	if g.cancel != nil {
		g.cancel()
	}
	g.moved = false
	g.ctx, g.cancel = context.WithDeadlineCause(g.caller, g.deadline, errDialTimeout)
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

// lookIfSlow has fresh metadata fetched beside a try with info if that is slow.
// If the instance has other addresses by then, the context ends. A slow instance
// that has not moved gets all the time there is. What it returns ends the
// looking.
func (g *dialing) lookIfSlow(c *connector, info *admin.Info) (stop func()) {
	deadline, _ := g.ctx.Deadline()
	wait := min(slow, time.Until(deadline)/2)
	if wait < slow/2 {
		return func() {}
	}
	wait = max(wait, lookInterval-time.Since(time.Unix(0, c.looked.Load())))
	g.looking.Add(1)
	timer := time.AfterFunc(wait, func() {
		defer g.looking.Done()
		g.look(c, info)
	})
	return func() {
		if timer.Stop() {
			g.looking.Done()
			return
		}
		g.over.Store(true)
		if end := g.endLook.Load(); end != nil {
			(*end)()
		}
		g.looking.Wait()
	}
}

func (g *dialing) look(c *connector, info *admin.Info) {
	ctx, end := context.WithCancel(g.ctx)
	defer end()
	g.endLook.Store(&end)
	if g.over.Load() {
		return
	}
	c.looked.Store(time.Now().UnixNano())
	c.cache.Refresh(info)
	newer, err := c.cache.Next(ctx, info)
	if err == nil && !info.SameAddrs(newer) {
		c.looked.Store(0)
		g.moved = true
		g.cancel()
	}
}
