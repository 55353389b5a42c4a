package cloudsqlconn

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
)

// addresses are where to try to reach the instance, in this order: a read
// pool's nodes, each Dial beginning with another one, then the instance's own
// addresses, then the nodes that have just failed.
func (c *connector) addresses(info *admin.Info, types []IPType) []string {
	own := hosts(info.Addrs, types)
	if len(info.Nodes) == 0 {
		return own
	}
	good, bad := c.nodes.order(info.Nodes, types)
	return slices.Concat(good, own, bad)
}

// hosts are the addresses of the wanted types, in that order.
func hosts(addrs admin.Addrs, types []IPType) []string {
	if len(types) == 1 {
		return slices.Clip(addrs[types[0].String()])
	}
	var hosts []string
	for _, t := range types {
		hosts = append(hosts, addrs[t.String()]...)
	}
	return hosts
}

// nodeRest is how long a node that has failed is left out.
const nodeRest = 30 * time.Second

// nodes remembers how Dials fared with a read pool's nodes.
type nodes struct {
	mu   sync.Mutex           // guards everything below
	next int                  // which node the next Dial begins with
	bad  map[string]time.Time // by address: when it failed
}

// order returns the nodes' addresses of the wanted types, those that have
// failed lately apart.
func (n *nodes) order(pool []admin.Addrs, types []IPType) (good, bad []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for host, at := range n.bad {
		if time.Since(at) >= nodeRest {
			delete(n.bad, host)
		}
	}
	n.next++
	for i := range pool {
		for _, host := range hosts(pool[(n.next+i)%len(pool)], types) {
			if _, failed := n.bad[host]; failed {
				bad = append(bad, host)
			} else {
				good = append(good, host)
			}
		}
	}
	return good, bad
}

// failed is told that host could not be reached or verified.
func (n *nodes) failed(host string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.bad == nil {
		n.bad = map[string]time.Time{}
	}
	n.bad[host] = time.Now()
}

func noAddress(info *admin.Info, types []IPType) error {
	has := otherTypes(info, types)
	slices.Sort(has)
	return &causeError{ErrNoAddress, &addressError{wanted: types, has: has}}
}

// addressError says that the instance has no address of the wanted types.
type addressError struct{ wanted, has []IPType }

func (e *addressError) Error() string {
	return fmt.Sprintf("the instance has no address of the types %v; it has %v", e.wanted, e.has)
}

// otherTypes are the types of the instance's addresses, and of its nodes', but
// those in types.
func otherTypes(info *admin.Info, types []IPType) (others []IPType) {
	for _, t := range allIPTypes {
		if !slices.Contains(types, t) && slices.ContainsFunc(slices.Concat(info.Nodes, []admin.Addrs{info.Addrs}), func(a admin.Addrs) bool { return len(a[t.String()]) > 0 }) {
			others = append(others, t)
		}
	}
	return others
}

// kindOf is the type of an address, or, if the instance has no such address,
// the DNS name that has it.
func kindOf(host string, info *admin.Info, n Name) string {
	for _, a := range slices.Concat(info.Nodes, []admin.Addrs{info.Addrs}) {
		for kind, hosts := range a {
			if slices.Contains(hosts, host) {
				return kind
			}
		}
	}
	return n.domain
}
