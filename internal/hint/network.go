package hint

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/reach"
	"github.com/cloudsqlconn/cloudsqlconn/internal/resolve"
)

// addressHint is for an instance without an address of the wanted types.
func (s Subject) addressHint(e *reach.NoAddressError) string {
	flags := map[string]string{
		admin.Public:  "--assign-ip",
		admin.Private: "--network=NETWORK",
		admin.PSC:     "--enable-private-service-connect --allowed-psc-projects=PROJECTS",
	}
	switch {
	case len(e.Has) > 0:
		return fmt.Sprintf("Pass WithIPTypes with a type that the instance has, %v, or give it an address of the wanted type: %s.", e.Has, s.gcloud("patch", flags[e.Wanted[0]]))
	case len(e.Wanted) < len(admin.AddressTypes):
		return fmt.Sprintf("If the creation of the instance has finished, give it such an address: %s.", s.gcloud("patch", flags[e.Wanted[0]]))
	}
	return fmt.Sprintf("Check whether the creation of the instance has finished, and which addresses it has: %s.", s.gcloud("describe", "--format='value(state,ipAddresses)'"))
}

func lookupHint(e *resolve.LookupError) string {
	if e.Temporary() {
		return "Check that this machine's DNS server works and can be reached, for example with `dig TXT " + e.Domain + "`."
	}
	if ofCloudSQL(e.Domain) {
		return "Cloud SQL manages this name itself, in a private zone of the instance's VPC network: run this program in that network or in one that is peered with it for DNS, enable the Cloud DNS API in the network's project (`gcloud services enable dns.googleapis.com --project=PROJECT`), or use the instance's connection name."
	}
	return "Give " + e.Domain + " a TXT record with the instance's connection name, project:region:instance, and check with `dig TXT " + e.Domain + "` that this machine's DNS server returns it."
}

// ofCloudSQL reports whether a DNS name is in one of the zones that Cloud SQL
// manages: nobody else can give it a record.
func ofCloudSQL(domain string) bool {
	domain = strings.ToLower(strings.TrimSuffix(domain, "."))
	return slices.ContainsFunc([]string{".sql.goog", ".sql-psa.goog", ".sql-psc.goog"}, func(zone string) bool { return strings.HasSuffix(domain, zone) })
}

// unreachableHint is for tries of which none led to the instance.
func (s Subject) unreachableHint(e *reach.Error) string {
	others := ""
	if len(e.Others) > 0 {
		others = fmt.Sprintf("The instance can also be reached at other types of address, see WithIPTypes: %v.", e.Others)
	}
	if e.Connected() {
		return Join("The connection is open, but no Cloud SQL instance answers on it: look for a firewall or proxy that inspects TLS, and check whether the instance is running: "+s.gcloud("describe", "--format='value(state)'")+".", others)
	}
	ways := []string{"Check the network path to TCP port 3307"}
	for _, kind := range []struct{ kind, hint string }{
		{admin.Public, "for a public address, firewalls must allow this machine to connect to that port on the internet"},
		{admin.Private, "for a private address, this program must run in the instance's VPC network or in one that is connected to it; Cloud Run, functions and App Engine need Direct VPC egress or a Serverless VPC Access connector"},
		{admin.PSC, "for PSC, this program's VPC network needs an endpoint for the instance, and a DNS record that points the instance's name to that endpoint"},
	} {
		if slices.ContainsFunc(e.Addrs, func(a *reach.AddrError) bool { return a.Kind == kind.kind }) {
			ways = append(ways, kind.hint)
		}
	}
	refused := ""
	if errors.Is(e, syscall.ECONNREFUSED) {
		refused = "A refused connection can also mean that the instance is stopped or restarting: " + s.gcloud("describe", "--format='value(state,settings.activationPolicy)'") + "."
	}
	return Join(strings.Join(ways, "; ")+".", refused, others)
}
