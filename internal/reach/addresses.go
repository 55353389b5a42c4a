package reach

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
)

// candidates are where to try to reach the instance, each once, in this order:
// the addresses of the DNS name that was dialled, a read pool's nodes, each Dial
// beginning with another one, and the instance's own addresses. Those that have
// led nowhere lately come last: all but so many as are fresh.
func (i *Instance) candidates(info *admin.Info, to *Target) (list []string, fresh int) {
	if to.Only != "" {
		return []string{to.Only}, 1
	}
	list = Hosts(info.Addrs, to.Types)
	if len(to.Hosts) == 0 && len(info.Nodes) == 0 {
		return i.memory.Order(list)
	}
	all := slices.Clip(to.Hosts)
	if n := len(info.Nodes); n > 0 {
		turn := int(i.turns.Add(1) % uint32(n))
		for k := range n {
			all = append(all, Hosts(info.Nodes[(turn+k)%n], to.Types)...)
		}
	}
	return i.memory.Order(unique(append(all, list...)))
}

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

// Hosts are the addresses of the wanted types, in that order.
func Hosts(addrs admin.Addrs, types []string) []string {
	if len(types) == 1 {
		return slices.Clip(addrs[types[0]])
	}
	hosts := make([]string, 0, len(types))
	for _, t := range types {
		hosts = append(hosts, addrs[t]...)
	}
	return hosts
}

// OtherTypes are the types of the instance's addresses, and of its nodes', but
// those in types.
func OtherTypes(info *admin.Info, types []string) (others []string) {
	for _, t := range admin.AddressTypes {
		if !slices.Contains(types, t) && slices.ContainsFunc(slices.Concat(info.Nodes, []admin.Addrs{info.Addrs}), func(a admin.Addrs) bool { return len(a[t]) > 0 }) {
			others = append(others, t)
		}
	}
	return others
}

// Has reports whether host is one of the instance's addresses, or of its nodes'.
func Has(info *admin.Info, host string) bool { return TypeOf(host, info) != "" }

// TypeOf is the type of an address of the instance's, or "".
func TypeOf(host string, info *admin.Info) string {
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
