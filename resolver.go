package cloudsqlconn

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/failure"
	"github.com/cloudsqlconn/cloudsqlconn/internal/foreign"
	"github.com/cloudsqlconn/cloudsqlconn/internal/refresh"
	"github.com/cloudsqlconn/cloudsqlconn/internal/resolve"
)

// Resolver turns what a caller passes to Dial into the name of an instance.
// Resolve is called at every Dial, from many goroutines at once. It should return
// soon after ctx ends; a Dial does not wait for one that does not. If the name it
// returns has a domain ([Name.WithDomain]), that domain is resolved again every
// failover period as long as it has open connections.
type Resolver interface {
	Resolve(ctx context.Context, name string) (Name, error)
}

// target is what a name passed to Dial stands for.
type target struct {
	name    Name
	dialled string   // that name
	own     bool     // it is a DNS name of Cloud SQL's own, or an alias of one
	hosts   []string // the addresses of the DNS name itself, if it has any
	only    string   // the one host to dial; "": any that the instance has
}

// resolver is a Resolver that can tell addresses too.
type resolver interface {
	resolve(ctx context.Context, name string) (target, error)
	close() // ends what is in progress, and waits
}

// nameResolver is the default: it takes instance connection names only.
type nameResolver struct{}

func (nameResolver) resolve(_ context.Context, name string) (target, error) {
	n, err := ParseName(name)
	return target{name: n}, err
}

func (nameResolver) close() {}

// customResolver is what WithResolver was given.
type customResolver struct{ Resolver }

func (r customResolver) resolve(ctx context.Context, name string) (target, error) {
	n, err := foreign.Call(ctx, func() (Name, error) { return r.Resolve(ctx, name) })
	if err == nil && n.project == "" {
		err = failure.Mark(ErrBadName, fmt.Errorf("the resolver returned no instance for %s", failure.Quote(name)))
	}
	return target{name: n}, err
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
			return client.ResolveDNS(traced(ctx), region, dnsName)
		},
		Policy: refresh.Policy{Timeout: timeout, Judge: judge},
	})}
}

func (r dnsResolver) resolve(ctx context.Context, name string) (target, error) {
	if strings.Contains(name, ":") {
		return nameResolver{}.resolve(ctx, name)
	}
	answer, err := r.dns.Resolve(ctx, name)
	if err != nil {
		return target{}, err
	}
	n, err := ParseName(answer.Instance)
	return target{name: n.WithDomain(name), hosts: answer.Hosts, own: answer.OfCloudSQL}, err
}

func (r dnsResolver) close() { r.dns.Close() }

const defaultFailoverPeriod = 30 * time.Second

// nameConfig is how names are resolved.
type nameConfig struct {
	resolver       Resolver // nil: instance connection names only
	dns            DNS      // nil: none
	failoverPeriod time.Duration
	unlisted       bool    // domains need not be in certificates
	errs           []error // about options that cannot even be stored
}

func (c *nameConfig) faults() []error {
	errs := c.errs
	if c.resolver != nil && c.dns != nil {
		errs = append(errs, errors.New("WithResolver and WithDNSResolver: want one of them"))
	}
	if c.failoverPeriod < 0 {
		errs = append(errs, fmt.Errorf("WithFailoverPeriod: want a positive duration, or 0 for no look-ups but those of Dials, got %v", c.failoverPeriod))
	}
	return errs
}

// WithResolver sets what turns the names passed to Dial into instances.
// Default: ParseName.
func WithResolver(r Resolver) Option {
	return option(func(c *config) {
		c.names.resolver = r
		if r == nil {
			c.names.errs = append(c.names.errs, errors.New("WithResolver: the resolver is nil"))
		}
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
		if dns == nil {
			c.names.errs = append(c.names.errs, errors.New("WithDNSResolver: the resolver is nil; pass net.DefaultResolver for the system's"))
		}
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
func WithUnlistedDomain(on bool) Option {
	return option(func(c *config) { c.names.unlisted = on })
}

// WithFailoverPeriod sets how often a DNS name with open connections is looked
// up again. When it names another instance, the connections to the old one are
// closed; a failed look-up changes nothing. Default: 30 s. 0: the name is looked up
// by Dials only.
func WithFailoverPeriod(d time.Duration) Option {
	return option(func(c *config) { c.names.failoverPeriod = d })
}
