package cloudsqlconn

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/failover"
	"github.com/cloudsqlconn/cloudsqlconn/internal/failure"
	"github.com/cloudsqlconn/cloudsqlconn/internal/foreign"
	"github.com/cloudsqlconn/cloudsqlconn/internal/known"
	"github.com/cloudsqlconn/cloudsqlconn/internal/refresh"
	"github.com/cloudsqlconn/cloudsqlconn/internal/resolve"
)

// Resolver turns what a caller passes to Dial into an instance. Resolve is called
// at every Dial, from many goroutines at once. It should return soon after ctx ends;
// a Dial does not wait for one that does not.
type Resolver interface {
	Resolve(ctx context.Context, name string) (Resolution, error)
}

// Resolution is what a name passed to Dial stands for.
type Resolution struct {
	// Instance is the instance. It is required: the zero Name is an [ErrBadName].
	Instance Name

	// Domain is the DNS name whose certificate is accepted from the server as well,
	// in any letter case, with or without a final dot. It is resolved again every
	// failover period as long as it has open connections, which are closed when it
	// means another instance. "": there is none.
	Domain string

	// Hosts are tried before the instance's own addresses, in this order, on the
	// same port: IP addresses, or host names, without a port ([ErrConfig] otherwise).
	Hosts []string

	own bool // Domain is a DNS name of Cloud SQL's own, or an alias of one
}

// checked returns r, in the form that everything else relies on, or what is wrong
// with it.
func (r Resolution) checked(name string) (Resolution, error) {
	if r.Instance.IsZero() {
		return Resolution{}, failure.Mark(ErrBadName, fmt.Errorf("the resolver returned no instance for %s", failure.Quote(name)))
	}
	for _, host := range r.Hosts {
		if _, err := netip.ParseAddr(host); err != nil && (host == "" || strings.ContainsAny(host, ":/[] ")) {
			return Resolution{}, failure.Mark(ErrConfig, fmt.Errorf("the resolver returned the host %s; want an IP address or a host name, without a port", failure.Quote(host)))
		}
	}
	r.Domain = canonical(r.Domain)
	return r, nil
}

// canonical is a DNS name as it is compared.
func canonical(domain string) string { return strings.ToLower(strings.TrimSuffix(domain, ".")) }

// followed is the answer as the failover of DNS names has it.
func (r Resolution) followed() failover.Instance {
	return failover.Instance{Domain: r.Domain, Name: r.Instance.String()}
}

// target is where a Dial leads.
type target struct {
	Resolution
	dialled string // the name that was passed to Dial
	only    string // the one host to dial; "": any that the instance has
}

// resolver is a Resolver that can be closed.
type resolver interface {
	resolve(ctx context.Context, name string) (Resolution, error)
	close() // ends what is in progress, and waits
}

// nameResolver is the default: it takes instance connection names only.
type nameResolver struct{}

func (nameResolver) resolve(_ context.Context, name string) (Resolution, error) {
	n, err := ParseName(name)
	return Resolution{Instance: n}, err
}

func (nameResolver) close() {}

// customResolver is what WithResolver was given.
type customResolver struct{ Resolver }

func (r customResolver) resolve(ctx context.Context, name string) (Resolution, error) {
	answer, err := foreign.Call(ctx, func() (Resolution, error) { return r.Resolve(ctx, name) })
	if err != nil {
		return Resolution{}, err
	}
	return answer.checked(name)
}

func (customResolver) close() {}

// DNS looks up names as [net.Resolver] does. Its methods are called from many
// goroutines at once. They should return soon after ctx ends; nobody waits for one
// that does not, not even Close.
type DNS interface {
	LookupTXT(ctx context.Context, name string) ([]string, error)
	LookupCNAME(ctx context.Context, host string) (string, error)
	LookupHost(ctx context.Context, host string) ([]string, error)
}

// noDNSName is what no DNS name has in it, and what is meant for an instance
// connection name may have.
const noDNSName = ":/"

// dnsResolver takes instance connection names and DNS names.
type dnsResolver struct{ dns *resolve.Resolver }

func newDNSResolver(dns DNS, client *admin.Client, timeout time.Duration) dnsResolver {
	return dnsResolver{resolve.New(resolve.Config{
		DNS: dns,
		Valid: func(text string) bool {
			_, err := ParseName(text)
			return err == nil
		},
		Instance: func(ctx context.Context, region, dnsName string) (string, error) {
			return client.ResolveDNS(known.Traced(ctx), region, dnsName)
		},
		Policy: refresh.Policy{Timeout: timeout, Judge: known.Judge},
	})}
}

func (r dnsResolver) resolve(ctx context.Context, name string) (Resolution, error) {
	if strings.ContainsAny(name, noDNSName) {
		return nameResolver{}.resolve(ctx, name)
	}
	answer, err := r.dns.Resolve(ctx, name)
	if err != nil {
		return Resolution{}, err
	}
	n, err := ParseName(answer.Instance)
	if err != nil {
		return Resolution{}, err
	}
	return Resolution{Instance: n, Domain: canonical(name), Hosts: answer.Hosts, own: answer.OfCloudSQL}, nil
}

func (r dnsResolver) close() { r.dns.Close() }

// CheckName returns the ErrBadName of a Dial of name that is known without asking
// anybody: with neither [WithResolver] nor [WithDNSResolver], name must be one for
// [ParseName]. Driver packages call it, so that their constructors fail, and not the
// first query.
func (d *Dialer) CheckName(name string) error {
	switch d.resolver.(type) {
	case customResolver:
		return nil
	case dnsResolver:
		if !strings.ContainsAny(name, noDNSName) {
			return nil
		}
	}
	_, err := ParseName(name)
	return err
}
