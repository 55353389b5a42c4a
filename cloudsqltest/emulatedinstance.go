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

// EmulatedInstance is an instance that a [Server] emulates, as [Server.AddInstance]
// returns it. Like the server-side proxy of a real one, it speaks TLS 1.3, and 1.2
// with clients that speak nothing newer, asks for a certificate from the instance's
// client CA, and forwards to the backend. A bad client certificate is refused as
// usual in TLS 1.3: the client believes the handshake is over, and its first Read
// fails. Its methods are safe for concurrent use.
type EmulatedInstance struct {
	server   *Server
	name     cloudsqlconn.Name
	cfg      Instance            // as it was added; what can change is below
	nodes    []*EmulatedInstance // of a read pool
	pool     *EmulatedInstance   // if this is a node of one
	nodeName string              // its name
	certs    *certs.Instance     // a node's are its pool's

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

func newInstance(s *Server, n cloudsqlconn.Name, cfg Instance) *EmulatedInstance {
	cfg = cfg.withDefaults(n.Region())
	if err := cfg.check(); err != nil {
		panic(fmt.Sprintf("cloudsqltest: AddInstance(%q): %v", n, err))
	}
	p := &EmulatedInstance{
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
func (p *EmulatedInstance) open() {
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
func (p *EmulatedInstance) key() string { return p.name.Project() + ":" + p.name.Instance() }

// Name returns project:region:instance.
func (p *EmulatedInstance) Name() string { return p.name.String() }

// Addr returns an address at which the instance really listens, or nil while it
// is stopped. It changes with each Start.
func (p *EmulatedInstance) Addr() net.Addr {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.listenerLocked(); l != nil {
		return l.Addr()
	}
	return nil
}

func (p *EmulatedInstance) listenerLocked() net.Listener {
	if p.run.stopped {
		return nil
	}
	for _, l := range p.run.listeners {
		return l
	}
	return nil
}

// Addrs returns the instance's addresses in the metadata.
func (p *EmulatedInstance) Addrs() map[cloudsqlconn.IPType]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.addrs)
}

// SetAddrs moves the instance: the metadata names the new addresses from now
// on, and the old ones refuse connections; see also [Server.Swallow].
// Connections stay open. With ListenOn3307 the instance listens at the new
// addresses, and SetAddrs panics if it cannot. A new PSC name is added to the
// server certificate.
func (p *EmulatedInstance) SetAddrs(addrs map[cloudsqlconn.IPType]string) {
	if p.moveTo(maps.Clone(addrs)) {
		p.certs.Reissue()
	}
}

func (p *EmulatedInstance) moveTo(addrs map[cloudsqlconn.IPType]string) (renamed bool) {
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

// dial is how the emulated network reaches the instance.
func (p *EmulatedInstance) dial(ctx context.Context, network, addr string) (net.Conn, error) {
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
