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
	errs           faults // about options that cannot even be stored
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
	errs := append(c.errs, c.dial.faults()...)
	errs.note(c.refreshTimeout < 0, "WithRefreshTimeout: want 0 or more, got %v", c.refreshTimeout)
	errs = append(errs, c.names.faults()...)
	errs = append(errs, c.observe.errs...)
	errs = append(errs, c.caller.Complete()...)
	errs = append(errs, c.caller.Faults(c.dial.iam && c.dial.sqlData != SQLDataOnly, c.dial.way != nil)...)
	errs.note(strings.ContainsAny(c.userAgent, "\r\n"), "WithUserAgent: want one line")
	key, ok := c.key.(*rsa.PrivateKey)
	errs.note(ok && (key == nil || key.N == nil || key.N.BitLen() < 2048), "WithPrivateKey: want RSA with 2048 bits or more")
	return asConfigError(errs)
}

// faults are what is wrong with options.
type faults []error

// note adds a fault, if something is wrong.
func (f *faults) note(wrong bool, format string, args ...any) {
	if wrong {
		*f = append(*f, fmt.Errorf(format, args...))
	}
}

// applyAll applies options in their order, and notes those that are nil.
func applyAll[O any](opts []O, errs *faults, apply func(O)) {
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

// Options makes one option of several, which are applied in their order.
func Options(opts ...Option) Option {
	opts = slices.Clone(opts)
	return option(func(c *config) {
		applyAll(opts, &c.errs, func(o Option) { o.applyDialer(c) })
	})
}
