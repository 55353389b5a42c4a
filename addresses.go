package cloudsqlconn

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
)

// candidates are where to try to reach the instance, each once, in this order:
// the addresses of the DNS name that was dialled, a read pool's nodes, each Dial
// beginning with another one, and the instance's own addresses. Those that have
// led nowhere lately come last: all but so many as are fresh.
func (c *connector) candidates(info *admin.Info, t target, types []IPType) (list []string, fresh int) {
	if t.only != "" {
		return []string{t.only}, 1
	}
	list = hosts(info.Addrs, types)
	if len(t.hosts) == 0 && len(info.Nodes) == 0 {
		return c.memory.Order(list)
	}
	all := slices.Clip(t.hosts)
	if n := len(info.Nodes); n > 0 {
		turn := int(c.turns.Add(1) % uint32(n))
		for i := range n {
			all = append(all, hosts(info.Nodes[(turn+i)%n], types)...)
		}
	}
	return c.memory.Order(unique(append(all, list...)))
}

// nodeRest is how long a node that refuses connections comes last.
const nodeRest = 30 * time.Second

// unique removes hosts that are in the list before.
func unique(hosts []string) []string {
	seen := make(map[string]bool, len(hosts))
	return slices.DeleteFunc(hosts, func(host string) bool {
		same := sameHost(host)
		defer func() { seen[same] = true }()
		return seen[same]
	})
}

// sameHost is the same for all ways to write a host.
func sameHost(host string) string {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap().String()
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// hosts are the addresses of the wanted types, in that order.
func hosts(addrs admin.Addrs, types []IPType) []string {
	if len(types) == 1 {
		return slices.Clip(addrs[types[0].String()])
	}
	hosts := make([]string, 0, len(types))
	for _, t := range types {
		hosts = append(hosts, addrs[t.String()]...)
	}
	return hosts
}

func noAddress(info *admin.Info, types []IPType) error {
	has := otherTypes(info, types)
	slices.Sort(has)
	return &causeError{ErrNoAddress, &addressError{wanted: types, has: has}}
}

// addressError says that the instance has no address of the wanted types.
type addressError struct{ wanted, has []IPType }

func (e *addressError) Error() string {
	if len(e.has) == 0 {
		return fmt.Sprintf("the instance has no address of the types %v", e.wanted)
	}
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
	if kind := typeOf(host, info); kind != "" {
		return kind
	}
	return n.domain
}

// addressType is the same for metrics.
func addressType(host string, info *admin.Info) string { return cmp.Or(typeOf(host, info), "DNS_NAME") }

// typeOf is the type of an address of the instance's, or "".
func typeOf(host string, info *admin.Info) string {
	if kind := typeAmong(host, info.Addrs); kind != "" || len(info.Nodes) == 0 {
		return kind
	}
	for _, a := range info.Nodes {
		if kind := typeAmong(host, a); kind != "" {
			return kind
		}
	}
	return ""
}

func typeAmong(host string, addrs admin.Addrs) string {
	for kind, hosts := range addrs {
		if slices.Contains(hosts, host) {
			return kind
		}
	}
	return ""
}
