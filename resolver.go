package cloudsqlconn

import (
	"context"
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
