package admin

import (
	"slices"
	"strings"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/sqladmin"
)

// The kinds of address that an instance can have.
const (
	Public  = "PUBLIC"
	Private = "PRIVATE"
	PSC     = "PSC"
)

// AddressTypes are all of them, in the order in which they are tried by default. The
// kit has them in cloudsqltest/settings.go and network.go.
var AddressTypes = []string{Public, Private, PSC}

// Addrs are IP addresses, or for PSC DNS names without a trailing dot, by
// kind. The first of a kind is to be preferred.
type Addrs map[string][]string

// nodes are the addresses of a read pool's nodes, in the order of their names:
// the metadata promises none.
func nodes(s *sqladmin.ConnectSettings) []Addrs {
	pool := slices.DeleteFunc(slices.Clone(s.Nodes), func(n *sqladmin.ConnectPoolNodeConfig) bool { return n == nil })
	slices.SortStableFunc(pool, func(a, b *sqladmin.ConnectPoolNodeConfig) int { return strings.Compare(a.Name, b.Name) })
	var all []Addrs
	for _, n := range pool {
		if a := addrs(n.IPAddresses, pscNames(s.PscEnabled, n.DNSNames, n.DNSName)); len(a) > 0 {
			all = append(all, a)
		}
	}
	return all
}

// addressKinds are the types of address that can be dialled, as the API names
// them.
var addressKinds = map[string]string{"PRIMARY": Public, "PRIVATE": Private}

// addrs are the addresses that can be dialled. Of several public or private
// ones the last counts, as in Google's connectors; those that should have been
// retired by now come after it.
func addrs(ips []*sqladmin.IPMapping, psc []string) Addrs {
	found, retired := Addrs{}, Addrs{}
	for _, m := range ips {
		switch {
		case m == nil || m.IPAddress == "" || addressKinds[m.Type] == "":
		case isRetired(m):
			kind := addressKinds[m.Type]
			retired[kind] = append(retired[kind], m.IPAddress)
		default:
			found[addressKinds[m.Type]] = []string{m.IPAddress}
		}
	}
	for kind, hosts := range retired {
		found[kind] = append(found[kind], hosts...)
	}
	if len(psc) > 0 {
		found[PSC] = psc
	}
	return found
}

// isRetired reports whether the time is over in which an address is kept for
// clients that know no newer one.
func isRetired(m *sqladmin.IPMapping) bool {
	at, err := time.Parse(time.RFC3339, m.TimeToRetire)
	return err == nil && time.Now().After(at)
}

// pscNames are the PSC names of an instance, or of a node, without their dot,
// those under sql-psc.goog first. They need pscEnabled, since instances without
// PSC have a DNS name too.
func pscNames(enabled bool, mappings []*sqladmin.DNSNameMapping, legacy string) []string {
	if !enabled {
		return nil
	}
	var names []string
	for _, m := range mappings {
		if m != nil && m.ConnectionType == "PRIVATE_SERVICE_CONNECT" && m.DNSScope == "INSTANCE" {
			names = appendName(names, m.Name)
		}
	}
	if len(names) == 0 {
		names = appendName(names, legacy)
	}
	slices.SortStableFunc(names, func(a, b string) int {
		return rank(a) - rank(b)
	})
	return names
}

// appendName appends name without its dot, unless nothing is left: dialling ""
// would be dialling this machine.
func appendName(names []string, name string) []string {
	if name = strings.TrimSuffix(name, "."); name == "" {
		return names
	}
	return append(names, name)
}

func rank(pscName string) int {
	if strings.HasSuffix(strings.ToLower(pscName), ".sql-psc.goog") {
		return 0
	}
	return 1
}
