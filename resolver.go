package cloudsqlconn

import (
	"context"
	"fmt"
)

// Resolver turns what a caller passes to Dial into the name of an instance.
// Resolve is called at every Dial, from many goroutines at once; it must
// return soon after ctx ends. If the name it returns has a domain
// ([Name.WithDomain]), that domain is resolved again every failover period as
// long as it has open connections.
type Resolver interface {
	Resolve(ctx context.Context, name string) (Name, error)
}

// target is what a name passed to Dial stands for.
type target struct {
	name  Name
	hosts []string // the addresses of the DNS name itself, if it has any
}

// resolver is a Resolver that can tell addresses too.
type resolver interface {
	resolve(ctx context.Context, name string) (target, error)
}

// nameResolver is the default: it takes instance connection names only.
type nameResolver struct{}

func (nameResolver) resolve(_ context.Context, name string) (target, error) {
	n, err := ParseName(name)
	return target{name: n}, err
}

// customResolver is what WithResolver was given.
type customResolver struct{ Resolver }

func (r customResolver) resolve(ctx context.Context, name string) (target, error) {
	n, err := r.Resolve(ctx, name)
	if err == nil && n.IsZero() {
		err = &causeError{ErrBadName, fmt.Errorf("the resolver returned no instance for %s", quote(name))}
	}
	return target{name: n}, err
}

// DNS looks up names as [net.Resolver] does. Its methods are called from many
// goroutines at once and must return soon after ctx ends.
type DNS interface {
	LookupTXT(ctx context.Context, name string) ([]string, error)
	LookupCNAME(ctx context.Context, host string) (string, error)
	LookupHost(ctx context.Context, host string) ([]string, error)
}

// newResolver returns what c asks for.
func newResolver(c *nameConfig) resolver {
	if c.resolver != nil {
		return customResolver{c.resolver}
	}
	return nameResolver{}
}
