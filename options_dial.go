package cloudsqlconn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"
)

// dialConfig is all that a Dial can be told.
type dialConfig struct {
	iam       bool
	types     []IPType
	dialFunc  DialFunc
	keepAlive time.Duration
	timeout   time.Duration
	errs      []error // about options that cannot even be stored
}

// DialFunc opens the TCP connection to an instance, as [net.Dialer.DialContext]
// does. It must return soon after ctx ends.
type DialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// with returns d with opts applied.
func (d dialConfig) with(opts []DialOption) (dialConfig, error) {
	if len(opts) == 0 {
		return d, nil
	}
	DialOptions(opts...).applyDial(&d)
	return d, asConfigError(d.faults())
}

func (d *dialConfig) faults() []error {
	errs := d.errs
	if len(d.types) == 0 {
		errs = append(errs, errors.New("WithIPTypes: want at least one type"))
	}
	for _, t := range d.types {
		if !t.valid() {
			errs = append(errs, fmt.Errorf("WithIPTypes: unknown type %q; want one of %v", string(t), allIPTypes))
		}
	}
	if d.dialFunc == nil {
		errs = append(errs, errors.New("WithDialFunc: the function is nil"))
	}
	if d.timeout <= 0 {
		errs = append(errs, fmt.Errorf("WithDialTimeout: want a positive duration, got %v", d.timeout))
	}
	return errs
}

// WithDialIAMAuthN says whether to log in with the caller's IAM identity.
// Default: false, the database asks for a password.
func WithDialIAMAuthN(on bool) DialOption {
	return dialOption(func(d *dialConfig) { d.iam = on })
}

// WithPublicIP connects to the instance's public address only.
func WithPublicIP() DialOption { return WithIPTypes(PublicIP) }

// WithPrivateIP connects to the instance's private address only.
func WithPrivateIP() DialOption { return WithIPTypes(PrivateIP) }

// WithPSC connects to the instance's Private Service Connect endpoint only.
func WithPSC() DialOption { return WithIPTypes(PSC) }

// WithAutoIP tries the public, then the private, then the PSC address,
// whichever the instance has. This is the default.
func WithAutoIP() DialOption { return WithIPTypes(PublicIP, PrivateIP, PSC) }

// WithIPTypes tries the instance's addresses of these types, in this order.
func WithIPTypes(types ...IPType) DialOption {
	types = slices.Clone(types)
	return dialOption(func(d *dialConfig) { d.types = types })
}

// WithDialFunc sets the function that opens TCP connections to instances.
// Default: a plain net.Dialer.
func WithDialFunc(f DialFunc) DialOption {
	return dialOption(func(d *dialConfig) { d.dialFunc = f })
}

// WithTCPKeepAlive sets the idle time after which TCP keep-alive probes are
// sent, and their interval. Default: 30 s; negative: no probes.
func WithTCPKeepAlive(d time.Duration) DialOption {
	return dialOption(func(c *dialConfig) { c.keepAlive = d })
}

// WithDialTimeout bounds a whole Dial, all hops together. A deadline of the
// caller's context that is sooner wins. Default: 30 s.
func WithDialTimeout(d time.Duration) DialOption {
	return dialOption(func(c *dialConfig) { c.timeout = d })
}

// WithDefaultDialOptions sets the default for all Dials. It is the same as
// passing opts to NewDialer.
func WithDefaultDialOptions(opts ...DialOption) Option { return DialOptions(opts...) }

// DialOptions groups options of a Dial.
func DialOptions(opts ...DialOption) DialOption {
	opts = slices.Clone(opts)
	return dialOption(func(d *dialConfig) {
		for i, o := range opts {
			if o == nil {
				d.errs = append(d.errs, fmt.Errorf("option %d is nil", i))
				continue
			}
			o.applyDial(d)
		}
	})
}
