package cloudsqltest

import (
	"crypto/tls"
	"fmt"
	"maps"
	"slices"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqladmin"
)

// Node describes a node of an emulated read pool. The zero value has a public
// and a private address.
type Node struct {
	// Name is the name of the node, without the project. Default: the name of the
	// instance, "-node-" and the number of the node, starting at 1.
	Name string

	// Addrs are the node's addresses, as in [Instance].Addrs. Default: a public
	// and a private address of its own, in 127.0.0.0/8.
	Addrs map[cloudsqlconn.IPType]string

	// DNSNames are names of the node: in the metadata, and in the server's
	// certificate, which is the same for all nodes. Default: none.
	DNSNames []string
}

// PoolNode is a node of an emulated read pool. It has addresses of its own, and the
// database and the certificates of the pool. Its methods are safe for concurrent
// use.
type PoolNode struct{ instance *EmulatedInstance }

// Nodes returns the nodes of a read pool, in the order of [Instance].Nodes.
func (p *EmulatedInstance) Nodes() (nodes []*PoolNode) {
	for _, n := range p.nodes {
		nodes = append(nodes, &PoolNode{n})
	}
	return nodes
}

// Name returns the name of the node.
func (n *PoolNode) Name() string { return n.instance.nodeName }

// Addrs returns the node's addresses in the metadata.
func (n *PoolNode) Addrs() map[cloudsqlconn.IPType]string { return n.instance.Addrs() }

// SetAddrs moves the node, as [EmulatedInstance.SetAddrs] moves an instance.
func (n *PoolNode) SetAddrs(addrs map[cloudsqlconn.IPType]string) {
	n.instance.SetAddrs(addrs)
}

// SetBehavior sets what happens to connections to the node from now on. Unless
// that is Healthy, it overrides for the node what was set for the whole pool.
func (n *PoolNode) SetBehavior(b Behavior) { n.instance.SetBehavior(b) }

// SetBehaviorFor sets what happens to so many of the next connections to the node;
// after that it is Healthy. Zero means for ever.
func (n *PoolNode) SetBehaviorFor(connections int, b Behavior) {
	n.instance.SetBehaviorFor(connections, b)
}

// Stop makes the node refuse connections, as [EmulatedInstance.Stop] does. The metadata
// still lists it.
func (n *PoolNode) Stop() { n.instance.Stop() }

// Start undoes Stop.
func (n *PoolNode) Start() { n.instance.Start() }

// CutConnections ends all open connections to the node, as
// [EmulatedInstance.CutConnections] does.
func (n *PoolNode) CutConnections(withReset bool) int { return n.instance.CutConnections(withReset) }

// Counts returns what has happened at the node so far.
func (n *PoolNode) Counts() Counts { return n.instance.Counts() }

// newNode makes the i-th node of a pool.
func newNode(pool *EmulatedInstance, i int, cfg Node) *EmulatedInstance {
	n := &EmulatedInstance{server: pool.server, name: pool.name, pool: pool, nodeName: cfg.Name, cfg: pool.cfg, links: map[*link]bool{}}
	n.cfg.Addrs, n.cfg.DNSNames, n.cfg.Nodes = maps.Clone(cfg.Addrs), slices.Clone(cfg.DNSNames), nil
	if n.nodeName == "" {
		n.nodeName = fmt.Sprintf("%s-node-%d", pool.name.Instance(), i+1)
	}
	n.open()
	return n
}

// all returns the instance and its nodes.
func (p *EmulatedInstance) all() []*EmulatedInstance {
	return append([]*EmulatedInstance{p}, p.nodes...)
}

// String names the instance, and the node.
func (p *EmulatedInstance) String() string {
	if p.pool == nil {
		return p.Name()
	}
	return p.Name() + ", node " + p.nodeName
}

// admitLocked is what happens to one connection more.
func (p *EmulatedInstance) admitLocked() (Behavior, *tls.Config) {
	b := p.nextBehaviorLocked()
	if p.pool == nil {
		return b, p.certs.TLS()
	}
	p.pool.mu.Lock() // after that of the node
	defer p.pool.mu.Unlock()
	if b == Healthy {
		b = p.pool.nextBehaviorLocked()
	}
	return b, p.certs.TLS()
}

// swallowLocked reports whether the SYN of one connection more is lost.
func (p *EmulatedInstance) swallowLocked() bool {
	switch {
	case p.behavior == Unreachable:
		p.nextBehaviorLocked()
		return true
	case p.behavior == Healthy && p.pool != nil:
		p.pool.mu.Lock() // after that of the node
		defer p.pool.mu.Unlock()
		return p.pool.swallowLocked()
	}
	return false
}

// nodeSettings are the nodes in the metadata.
func (p *EmulatedInstance) nodeSettings() (list []*sqladmin.ConnectPoolNodeConfig) {
	for _, n := range p.nodes {
		addrs := n.Addrs()
		one := &sqladmin.ConnectPoolNodeConfig{Name: n.nodeName, IpAddresses: ipMappings(addrs)}
		one.DnsName, one.DnsNames = dnsNameMappings(n.cfg.DNSNames, addrs)
		list = append(list, one)
	}
	return list
}
