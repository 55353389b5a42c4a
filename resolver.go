package cloudsqlconn

import (
	"cmp"
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
	if strings.Contains(name, ":") {
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

const defaultFailoverPeriod = 30 * time.Second

// nameConfig is how names are resolved.
type nameConfig struct {
	resolver       Resolver      // nil: instance connection names only
	dns            DNS           // nil: none
	failoverPeriod time.Duration // 0: no look-ups but those of Dials
	unlisted       bool          // domains need not be in certificates
	errs           faults        // about options that cannot even be stored
}

func (c *nameConfig) faults() faults {
	errs := c.errs
	errs.note(c.resolver != nil && c.dns != nil, "WithResolver and WithDNSResolver: want one of them")
	errs.note(c.unlisted && c.resolver == nil && c.dns == nil, "WithUnlistedDomain(true): want WithDNSResolver or WithResolver too")
	return errs
}

// WithResolver sets what turns the names passed to Dial into instances.
// Default: ParseName.
func WithResolver(r Resolver) Option {
	return option(func(c *config) {
		c.names.resolver = r
		c.names.errs.note(r == nil, "WithResolver: the resolver is nil")
	})
}

// WithDNSResolver lets Dial take DNS names as well as instance connection names.
// dns is [net.DefaultResolver], or anything else that looks up names like it. A
// nil *net.Resolver is the same as a zero Resolver, as package net has it.
//
// A name of Cloud SQL's own, such as 42cf.2imj.us-west1.sql.goog, is resolved
// by the Admin API. Any other has a TXT record with the instance's connection
// name, or is an alias (CNAME) of a name that has one. If it has addresses (A,
// AAAA) too, they are tried before those of the instance. The server's certificate
// must be for the name, unless it has the instance's connection name (see
// [WithUnlistedDomain]).
//
// DNS is queried at every Dial, so that a changed record takes effect at once. When
// there is no answer, the last one is used. See also [WithFailoverPeriod]. Use a
// private zone: a public record discloses the instance's name.
func WithDNSResolver(dns DNS) Option {
	return option(func(c *config) {
		c.names.dns = dns
		c.names.errs.note(dns == nil, "WithDNSResolver: the resolver is nil; pass net.DefaultResolver for the system's")
	})
}

// WithUnlistedDomain says whether the server's certificate may lack the DNS name
// that was dialled, if it has one that the instance's metadata names. Certificates
// of Google's shared CA and of customer-managed CAs have DNS names only; with the
// latter, the custom subject alternative names of the instance are among them. With
// true, whoever can change the name's TXT record can direct the program, and its
// password, to any instance that it may connect to. Default: false, the server is
// refused with ErrUnverified.
//
// It affects neither certificates whose common name is project:instance, such as
// those from an instance's own CA, nor Cloud SQL's own DNS names and their aliases.
// True is an error without [WithDNSResolver] and [WithResolver].
func WithUnlistedDomain(on bool) Option {
	return option(func(c *config) { c.names.unlisted = on })
}

// WithFailoverPeriod sets how often a DNS name with open connections is looked
// up again. When it names another instance, the connections to the old one are
// closed; a failed look-up changes nothing. Default, and with 0: 30 s. Negative: the
// name is looked up by Dials only.
func WithFailoverPeriod(d time.Duration) Option {
	return option(func(c *config) { c.names.failoverPeriod = max(0, cmp.Or(d, defaultFailoverPeriod)) })
}
