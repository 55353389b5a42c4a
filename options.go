package cloudsqlconn

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/caller"
	"github.com/cloudsqlconn/cloudsqlconn/internal/failure"
	"github.com/cloudsqlconn/cloudsqlconn/internal/hint"
	"github.com/cloudsqlconn/cloudsqlconn/internal/mdx"
	"github.com/cloudsqlconn/cloudsqlconn/internal/race"
	"github.com/cloudsqlconn/cloudsqlconn/internal/reach"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata"
)

const (
	defaultDialTimeout    = 30 * time.Second
	defaultRefreshTimeout = time.Minute
	defaultKeepAlive      = 30 * time.Second
	defaultFailoverPeriod = 30 * time.Second
)

// Option configures a [Dialer]. Options only store values; NewDialer checks all
// of them together. [Options] makes one of several.
//
// For all options, DialOptions and ServeOptions too: a duration or a count of 0 is
// the default; a negative one turns off what can be turned off, and is an
// [ErrConfig] elsewhere. Nil and the empty string are an [ErrConfig].
type Option interface {
	applyDialer(*config)
}

// DialOption configures one Dial. Given to NewDialer, it is the default for all
// Dials. [DialOptions] makes one of several.
type DialOption interface {
	Option
	ServeOption
	applyDial(*dialConfig)
}

// config is all that a Dialer can be told.
type config struct {
	caller         caller.Caller
	userAgent      string
	refreshTimeout time.Duration
	lazy           bool
	key            crypto.Signer
	names          nameConfig
	observe        observeConfig
	sqlData        sqldata.Endpoint // empty: the Admin API's host
	dial           dialConfig
	errs           mistakes // about options that cannot even be stored
}

// nameConfig is how names are resolved.
type nameConfig struct {
	resolver       Resolver      // nil: instance connection names only
	dns            DNS           // nil: none
	failoverPeriod time.Duration // 0: no look-ups but those of Dials
	unlisted       bool          // domains need not be in certificates
	errs           mistakes      // about options that cannot even be stored
}

type option func(*config)

func (o option) applyDialer(c *config) { o(c) }

type dialOption func(*dialConfig)

func (o dialOption) applyDialer(c *config)   { o(&c.dial) }
func (o dialOption) applyDial(d *dialConfig) { o(d) }

// newConfig returns the defaults with opts applied, or one error that names
// everything wrong with them.
func newConfig(opts []Option) (config, error) {
	c := config{
		refreshTimeout: defaultRefreshTimeout,
		userAgent:      "cloudsqlconn/" + version,
		names:          nameConfig{failoverPeriod: defaultFailoverPeriod},
		observe:        observeConfig{log: slog.New(slog.DiscardHandler)},
		dial: dialConfig{
			types:   admin.AddressTypes,
			sqlData: SQLDataNever,
			tcp: reach.Way{
				Dial:      (&race.Dialer{Dialer: net.Dialer{KeepAlive: -1}}).DialContext, // netdial.KeepAlive comes after it
				KeepAlive: defaultKeepAlive,
			},
			exchange: exchangeByDrivers,
			protocol: mdx.TLS,
			timeout:  defaultDialTimeout,
			relogin:  true,
		},
	}
	Options(opts...).applyDialer(&c)
	return c, c.validate()
}

// signs says who signs with the client key.
func (c *config) signs() reach.Signs {
	switch c.key.(type) {
	case nil, *rsa.PrivateKey, *ecdsa.PrivateKey, ed25519.PrivateKey:
		return reach.Here
	}
	return reach.Elsewhere
}

func (c *config) validate() error {
	errs := append(c.errs, c.dial.mistakes()...)
	errs.note(c.refreshTimeout < 0, "WithRefreshTimeout: want 0 or more, got %v", c.refreshTimeout)
	errs = append(errs, c.names.mistakes()...)
	errs = append(errs, c.observe.errs...)
	errs = append(errs, c.caller.Complete()...)
	errs = append(errs, c.caller.Mistakes(c.dial.iam && c.dial.sqlData != SQLDataOnly, c.dial.carrier != nil)...)
	errs.note(strings.ContainsAny(c.userAgent, "\r\n"), "WithUserAgent: want one line")
	key, ok := c.key.(*rsa.PrivateKey)
	errs.note(ok && (key == nil || key.N == nil || key.N.BitLen() < 2048), "WithPrivateKey: want RSA with 2048 bits or more")
	return asConfigError(errs)
}

func (c *nameConfig) mistakes() mistakes {
	errs := c.errs
	errs.note(c.resolver != nil && c.dns != nil, "WithResolver and WithDNSResolver: want one of them")
	errs.note(c.unlisted && c.resolver == nil && c.dns == nil, "WithUnlistedDomain(true): want WithDNSResolver or WithResolver too")
	return errs
}

// mistakes are what is wrong with options.
type mistakes []error

// note adds a mistake, if something is wrong.
func (m *mistakes) note(wrong bool, format string, args ...any) {
	if wrong {
		*m = append(*m, fmt.Errorf(format, args...))
	}
}

// applyAll applies options in their order, and notes those that are nil.
func applyAll[O any](opts []O, errs *mistakes, apply func(O)) {
	for i, o := range opts {
		if any(o) == nil {
			errs.note(true, "option %d is nil", i)
			continue
		}
		apply(o)
	}
}

func asConfigError(errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	err := failure.Mark(ErrConfig, failure.Lines(errs))
	return &Error{Op: OpConfig, Err: err, Hint: hint.Subject{}.Hint(OpConfig, err)}
}

// WithRefreshTimeout bounds one refresh of an instance's metadata and
// certificate. Default, and with 0: 60 s.
func WithRefreshTimeout(d time.Duration) Option {
	return option(func(c *config) { c.refreshTimeout = cmp.Or(d, defaultRefreshTimeout) })
}

// WithLazyRefresh refreshes certificates when a Dial finds them due, and never
// in the background: for environments where the CPU stops between requests, such
// as serverless functions.
func WithLazyRefresh() Option {
	return option(func(c *config) { c.lazy = true })
}

// WithPrivateKey sets the client key. It signs at each handshake; a Dial does not
// wait for a Sign beyond the end of its context. Default: an RSA key of 2048 bits,
// generated in the background, one for the whole process.
func WithPrivateKey(key crypto.Signer) Option {
	return option(func(c *config) {
		c.key = key
		c.errs.note(key == nil, "WithPrivateKey: the key is nil")
	})
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

// Options makes one option of several, which are applied in their order.
func Options(opts ...Option) Option {
	opts = slices.Clone(opts)
	return option(func(c *config) {
		applyAll(opts, &c.errs, func(o Option) { o.applyDialer(c) })
	})
}
