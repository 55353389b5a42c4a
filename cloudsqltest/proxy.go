package cloudsqltest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"sync"
	"syscall"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/internal/certs"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/internal/sockets"
)

// Proxy is the server-side proxy of an emulated instance. It speaks TLS 1.3,
// and 1.2 with clients that speak nothing newer, asks for a certificate from the
// instance's client CA, and forwards to the backend. A bad client certificate is
// refused as usual in TLS 1.3: the client believes the handshake is over, and its
// first Read fails. Its methods are safe for concurrent use.
type Proxy struct {
	server *Server
	name   cloudsqlconn.Name
	cfg    Instance        // as it was added; what can change is below
	nodes  []*Proxy        // of a read pool
	pool   *Proxy          // if this is a node
	node   string          // its name
	certs  *certs.Instance // a node's are its pool's

	echoes   sync.Once  // tells that it does
	entering sync.Mutex // held while the state changes; comes before all others

	mu          sync.Mutex                     // guards everything below; a node's comes before its pool's
	addrs       map[cloudsqlconn.IPType]string // written with Server.mu held, too
	state       State                          // of a node: its pool's counts
	behavior    Behavior
	streamFault *StreamFault
	behaveFor   int // connections until the behaviour ends; 0 for ever
	run         *run
	claims      map[string]net.PacketConn // by host, if ListenOn3307
	links       map[*link]bool            // of all runs
	ended       bool                      // deleted, or the Server is closed
	counts      Counts
	told        []ClientMetadata
	kept        map[pooledLogin]pooledToken // by the pooler
}

// run is what goes on between Start and Stop.
type run struct {
	wg        sync.WaitGroup          // counts accept loops and connections
	listeners map[string]net.Listener // by host; "" if one stands behind all; guarded by Proxy.mu
	stopped   bool                    // guarded by Proxy.mu
}

func newProxy(s *Server, n cloudsqlconn.Name, cfg Instance) *Proxy {
	cfg = cfg.withDefaults(n.Region())
	if err := cfg.check(); err != nil {
		panic(fmt.Sprintf("cloudsqltest: AddInstance(%q): %v", n, err))
	}
	p := &Proxy{
		server: s,
		name:   n,
		cfg:    cfg,
		state:  Runnable,
		links:  map[*link]bool{},
	}
	p.open()
	for i, node := range p.cfg.Nodes {
		p.nodes = append(p.nodes, newNode(p, i, node))
	}
	p.certs = p.newCerts()
	for _, node := range p.nodes {
		node.certs = p.certs
	}
	return p
}

// open finds addresses, and listens.
func (p *Proxy) open() {
	if p.addrs = p.cfg.Addrs; p.addrs == nil {
		p.addrs = p.server.nextAddrs()
	}
	if p.cfg.ListenOn3307 {
		p.run = &run{listeners: p.findFree3307()}
	} else {
		p.run = &run{listeners: p.listen()}
	}
}

// key is project:instance, as the Admin API names the instance.
func (p *Proxy) key() string { return p.name.Project() + ":" + p.name.Instance() }

// Name returns project:region:instance.
func (p *Proxy) Name() string { return p.name.String() }

// Addr returns an address at which the proxy really listens, or nil while it
// is stopped. It changes with each Start.
func (p *Proxy) Addr() net.Addr {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.listenerLocked(); l != nil {
		return l.Addr()
	}
	return nil
}

func (p *Proxy) listenerLocked() net.Listener {
	if p.run.stopped {
		return nil
	}
	for _, l := range p.run.listeners {
		return l
	}
	return nil
}

// Addrs returns the instance's addresses in the metadata.
func (p *Proxy) Addrs() map[cloudsqlconn.IPType]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.addrs)
}

// SetAddrs moves the instance: the metadata names the new addresses from now
// on, and the old ones refuse connections; see also [Server.Swallow].
// Connections stay open. With ListenOn3307 the instance listens at the new
// addresses, and SetAddrs panics if it cannot. A new PSC name is added to the
// server certificate.
func (p *Proxy) SetAddrs(addrs map[cloudsqlconn.IPType]string) {
	if p.moveTo(maps.Clone(addrs)) {
		p.certs.Reissue()
	}
}

func (p *Proxy) moveTo(addrs map[cloudsqlconn.IPType]string) (renamed bool) {
	p.server.mu.Lock()
	defer p.server.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cfg.ListenOn3307 && !p.ended {
		p.move3307Locked(addrs)
	}
	old := p.addrs
	p.addrs = addrs
	if !p.ended {
		p.server.routeLocked(p)
	}
	return old[cloudsqlconn.PSC] != addrs[cloudsqlconn.PSC]
}

// Stop makes the instance, with all nodes of a read pool, refuse connections,
// cuts the open ones in an orderly way, and returns when all of them have ended
// and all Handlers have returned.
// What keeps it waiting for more than five seconds is logged. It must not be
// called from a Handler. The Admin API continues as before: it knows nothing about a
// crash. See [Proxy.SetState] for an instance that an administrator has stopped.
func (p *Proxy) Stop() {
	wait := p.halt(false)
	defer complain("Stop", p.blame)()
	wait()
}

// halt is Stop that does not wait: what it returns does that. If it is for
// good, there is no Start.
func (p *Proxy) halt(forGood bool) (wait func()) {
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

func (p *Proxy) haltOne(forGood bool) *run {
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
func (p *Proxy) Start() {
	for _, p := range p.all() {
		p.startOne()
	}
}

func (p *Proxy) startOne() {
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
func (p *Proxy) CutConnections(withReset bool) (n int) {
	for _, p := range p.all() {
		p.mu.Lock()
		n += p.cutLocked(withReset)
		p.mu.Unlock()
	}
	return n
}

func (p *Proxy) cutLocked(withReset bool) (n int) {
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
func (p *Proxy) blame() (list []string) {
	for _, p := range p.all() {
		p.mu.Lock()
		for l := range p.links {
			list = append(list, fmt.Sprintf("%v: connection from %v: %s", p, l.raw.RemoteAddr(), l.doing))
		}
		p.mu.Unlock()
	}
	return list
}

// dial is how the emulated network reaches the instance.
func (p *Proxy) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	p.mu.Lock()
	listener := p.listenerLocked()
	swallow := listener != nil && p.swallowLocked()
	if swallow {
		p.counts.Swallowed++
	}
	p.mu.Unlock()
	if swallow {
		return p.server.noAnswer(ctx, network, addr)
	}

	var c net.Conn
	err := dialError(network, addr, syscall.ECONNREFUSED)
	if listener != nil {
		c, err = sockets.Dial(ctx, listener, network, addr)
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		p.count(&p.counts.Refused)
	}
	return c, err
}
