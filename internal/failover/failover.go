// Package failover follows the DNS names that have open connections, and cuts those to
// an instance that the name does not lead to any more. It knows neither how a name is
// looked up nor what a connection is.
package failover

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"time"
)

// lookupTimeout bounds the look-ups that nobody waits for.
const lookupTimeout = 10 * time.Second

// Instance is one that a DNS name leads to.
type Instance struct{ Domain, Name string }

// Follower follows DNS names. When one names another instance, its connections to the
// old one are cut: the pool that owns them connects again, to the new one. Its methods
// are safe for concurrent use.
type Follower struct {
	find   func(ctx context.Context, domain string) (Instance, error)
	period time.Duration // 0: no look-up but those of others
	log    *slog.Logger

	ctx    context.Context // ends at Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // counts look-ups

	mu      sync.Mutex // guards everything below; never held over a look-up
	domains map[string]*domain
}

// domain is a DNS name with open connections.
type domain struct {
	conns map[Conn]Instance // and the instances they lead to
	timer *time.Timer       // of the next look-up; nil if there is none
}

// Conn is a connection that can be cut. It is comparable, and safe for concurrent use.
type Conn interface {
	// Cut ends the connection, and gives its owner a reason. It reports whether it has
	// not been cut before. It waits for nothing.
	Cut(reason error) bool
}

// New returns a Follower that looks up each name once a period with find: 0 is never.
func New(find func(ctx context.Context, domain string) (Instance, error), period time.Duration, log *slog.Logger) *Follower {
	f := &Follower{find: find, period: period, log: log, domains: map[string]*domain{}}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	return f
}

// Opened is told of a connection that was made to the instance n, and returns
// what has to be called when it is closed.
func (f *Follower) Opened(c Conn, n Instance) (closed func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.domains[n.Domain]
	if d == nil {
		d = &domain{conns: map[Conn]Instance{}}
		f.domains[n.Domain] = d
		if f.period > 0 {
			d.timer = time.AfterFunc(f.period, func() { f.lookUp(n.Domain, d) })
		}
	}
	d.conns[c] = n
	return func() { f.closed(c, n.Domain) }
}

func (f *Follower) closed(c Conn, name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.domains[name]
	delete(d.conns, c)
	if len(d.conns) == 0 {
		if d.timer != nil {
			d.timer.Stop()
		}
		delete(f.domains, name)
	}
}

// lookUp asks which instance the domain names now. A failed look-up says
// nothing.
func (f *Follower) lookUp(name string, d *domain) {
	f.mu.Lock()
	if f.ctx.Err() != nil || f.domains[name] != d {
		f.mu.Unlock()
		return
	}
	f.wg.Add(1)
	defer f.wg.Done()
	f.mu.Unlock()

	ctx, cancel := context.WithTimeout(f.ctx, lookupTimeout)
	defer cancel()
	now, err := f.find(ctx, name)
	switch {
	case err == nil:
		f.Found(now)
	case f.ctx.Err() == nil && f.log.Enabled(ctx, slog.LevelWarn):
		f.log.LogAttrs(ctx, slog.LevelWarn, "looking up the DNS name of open connections failed", slog.String("domain", name), slog.String("error", err.Error()))
	}

	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ctx.Err() == nil && f.domains[name] == d {
		d.timer.Reset(f.period)
	}
}

// Found is told which instance a domain names, and cuts the connections to
// any other.
func (f *Follower) Found(now Instance) {
	if n, ctx := f.cut(now), context.Background(); n > 0 && f.log.Enabled(ctx, slog.LevelInfo) {
		f.log.LogAttrs(ctx, slog.LevelInfo, "the DNS name leads to another instance, connections to the old one are closed",
			slog.String("domain", now.Domain), slog.String("instance", now.Name), slog.Int("connections", n))
	}
}

// cut cuts the connections of a domain to any other instance than now, and
// returns how many those were. It does not wait until they are closed, which
// is up to whoever has opened them.
func (f *Follower) cut(now Instance) (cut int) {
	for c, n := range f.astray(now) {
		if c.Cut(fmt.Errorf("%s now leads to %s, and this connection to %s: %w", now.Domain, now.Name, n.Name, net.ErrClosed)) {
			cut++
		}
	}
	return cut
}

// astray are the connections of a domain to any other instance than now.
func (f *Follower) astray(now Instance) map[Conn]Instance {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.domains[now.Domain]
	if d == nil {
		return nil
	}
	var astray map[Conn]Instance // made when it is needed: a Dial may be waiting
	for c, n := range d.conns {
		if n != now {
			if astray == nil {
				astray = map[Conn]Instance{}
			}
			astray[c] = n
		}
	}
	return astray
}

// Close ends the look-ups. Connections stay open.
func (f *Follower) Close() {
	f.mu.Lock()
	f.cancel()
	for _, d := range slices.Collect(maps.Values(f.domains)) {
		if d.timer != nil {
			d.timer.Stop()
		}
	}
	f.mu.Unlock()
	f.wg.Wait()
}
