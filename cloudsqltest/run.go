package cloudsqltest

import (
	"fmt"
	"net"
	"sync"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/internal/sockets"
)

// run is what goes on between Start and Stop.
type run struct {
	wg        sync.WaitGroup          // counts accept loops and connections
	listeners map[string]net.Listener // by host; "" if one stands behind all; guarded by EmulatedInstance.mu
	stopped   bool                    // guarded by EmulatedInstance.mu
}

// listen opens what the instance listens at. Unless that are its own addresses,
// one listener stands behind all of them.
func (p *EmulatedInstance) listen() map[string]net.Listener {
	if p.cfg.ListenOn3307 {
		return must(on3307(p.addrs, nil, listenTCP))
	}
	return map[string]net.Listener{"": p.server.listen(p.name.Instance() + ".test:3307")}
}

// serve accepts connections until Stop.
func (p *EmulatedInstance) serve() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.serveLocked()
}

func (p *EmulatedInstance) serveLocked() {
	for _, l := range p.run.listeners {
		p.acceptLocked(l)
	}
}

func (p *EmulatedInstance) acceptLocked(l net.Listener) {
	r := p.run
	r.wg.Go(func() {
		sockets.Accept(l, func(raw net.Conn) { r.wg.Go(func() { p.handle(r, raw) }) })
	})
}

// Stop makes the instance, with all nodes of a read pool, refuse connections,
// cuts the open ones in an orderly way, and returns when all of them have ended
// and all Handlers have returned.
// What keeps it waiting for more than five seconds is logged. It must not be
// called from a Handler. The Admin API continues as before: it knows nothing about a
// crash. See [EmulatedInstance.SetState] for an instance that an administrator has
// stopped.
func (p *EmulatedInstance) Stop() {
	wait := p.halt(false)
	defer complain("Stop", p.blame)()
	wait()
}

// halt is Stop that does not wait: what it returns does that. If it is for
// good, there is no Start.
func (p *EmulatedInstance) halt(forGood bool) (wait func()) {
	var runs []*run
	for _, p := range p.all() {
		runs = append(runs, p.haltOne(forGood))
	}
	return func() {
		for _, r := range runs {
			r.wg.Wait()
		}
	}
}

func (p *EmulatedInstance) haltOne(forGood bool) *run {
	p.mu.Lock()
	defer p.mu.Unlock()
	if forGood {
		p.ended = true
		closeExcept(p.claims, nil)
		p.claims = nil
	}
	if !p.run.stopped {
		p.run.stopped = true
		for _, l := range p.run.listeners {
			_ = l.Close()
		}
		p.cutLocked(false)
	}
	return p.run
}

// Start undoes Stop, for all nodes of a read pool. The instance keeps its CAs
// and addresses. It does nothing if the instance is deleted or not [Runnable], or
// the Server closed.
func (p *EmulatedInstance) Start() {
	for _, p := range p.all() {
		p.startOne()
	}
}

func (p *EmulatedInstance) startOne() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.run.stopped && !p.ended && p.runsLocked() {
		p.run = &run{listeners: p.listen()}
		p.serveLocked()
	}
}

// CutConnections ends all open connections, with a TCP reset or in an orderly
// way (FIN, without a TLS close_notify), and returns how many there were. Those
// to the nodes of a read pool are among them.
func (p *EmulatedInstance) CutConnections(withReset bool) (n int) {
	for _, p := range p.all() {
		p.mu.Lock()
		n += p.cutLocked(withReset)
		p.mu.Unlock()
	}
	return n
}

func (p *EmulatedInstance) cutLocked(withReset bool) (n int) {
	for l := range p.links {
		if l.open {
			n++
		}
		l.open = false
		if withReset {
			sockets.Reset(l.raw)
		} else {
			sockets.CloseOrderly(l.raw)
		}
		l.cancel()
	}
	p.counts.Cut += n
	return n
}

// blame lists the connections that have not ended.
func (p *EmulatedInstance) blame() (list []string) {
	for _, p := range p.all() {
		p.mu.Lock()
		for l := range p.links {
			list = append(list, fmt.Sprintf("%v: connection from %v: %s", p, l.raw.RemoteAddr(), l.doing))
		}
		p.mu.Unlock()
	}
	return list
}
