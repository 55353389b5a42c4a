package cloudsqlconn

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

// failover follows the DNS names that have open connections. When one names
// another instance, its connections to the old one are closed: the pool that
// owns them connects again, to the new one.
type failover struct {
	resolver resolver
	period   time.Duration // 0: no look-up but those of Dials
	log      *slog.Logger

	ctx    context.Context // ends at close
	cancel context.CancelFunc
	wg     sync.WaitGroup // counts look-ups

	mu      sync.Mutex // guards everything below; never held over a look-up
	domains map[string]*domain
}

// domain is a DNS name with open connections.
type domain struct {
	conns map[cutter]Name // and the instances they lead to
	timer *time.Timer     // of the next look-up; nil if there is none
}

// cutter is a connection that can be cut: see [conn.cut].
type cutter interface{ cut(reason error) bool }

func newFailover(r resolver, period time.Duration, log *slog.Logger) *failover {
	f := &failover{resolver: r, period: period, log: log, domains: map[string]*domain{}}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	return f
}

// opened is told of a connection that was made to the instance n, and returns
// what has to be called when it is closed.
func (f *failover) opened(c cutter, n Name) (closed func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.domains[n.domain]
	if d == nil {
		d = &domain{conns: map[cutter]Name{}}
		f.domains[n.domain] = d
		if f.period > 0 {
			d.timer = time.AfterFunc(f.period, func() { f.lookUp(n.domain, d) })
		}
	}
	d.conns[c] = n
	return func() { f.closed(c, n.domain) }
}

func (f *failover) closed(c cutter, name string) {
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
func (f *failover) lookUp(name string, d *domain) {
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
	t, err := f.resolver.resolve(ctx, name)
	switch {
	case err == nil:
		f.found(t.name)
	case f.ctx.Err() == nil && f.log.Enabled(ctx, slog.LevelWarn):
		f.log.LogAttrs(ctx, slog.LevelWarn, "looking up the DNS name of open connections failed", slog.String("domain", name), slog.String("error", err.Error()))
	}

	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ctx.Err() == nil && f.domains[name] == d {
		d.timer.Reset(f.period)
	}
}

// found is told which instance a domain names, and cuts the connections to
// any other.
func (f *failover) found(now Name) {
	if n, ctx := f.cut(now), context.Background(); n > 0 && f.log.Enabled(ctx, slog.LevelInfo) {
		f.log.LogAttrs(ctx, slog.LevelInfo, "the DNS name leads to another instance, connections to the old one are closed",
			slog.String("domain", now.domain), slog.String("instance", now.String()), slog.Int("connections", n))
	}
}

// cut cuts the connections of a domain to any other instance than now, and
// returns how many those were. It does not wait until they are closed, which
// is up to whoever has opened them.
func (f *failover) cut(now Name) (cut int) {
	for c, n := range f.astray(now) {
		if c.cut(fmt.Errorf("%s now leads to %v, and this connection to %v: %w", now.domain, now, n, net.ErrClosed)) {
			cut++
		}
	}
	return cut
}

// astray are the connections of a domain to any other instance than now.
func (f *failover) astray(now Name) map[cutter]Name {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.domains[now.domain]
	if d == nil {
		return nil
	}
	var astray map[cutter]Name // made when it is needed: a Dial may be waiting
	for c, n := range d.conns {
		if n != now {
			if astray == nil {
				astray = map[cutter]Name{}
			}
			astray[c] = n
		}
	}
	return astray
}

// close ends the look-ups. Connections stay open.
func (f *failover) close() {
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
