package cloudsqlconn

import (
	"context"
	"crypto"
	"crypto/rsa"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/oauth2"
)

const (
	defaultDialTimeout    = 30 * time.Second
	defaultRefreshTimeout = time.Minute
	defaultKeepAlive      = 30 * time.Second
)

// Option configures a [Dialer]. Options only store; NewDialer checks all of
// them at once.
type Option interface {
	applyDialer(*config)
}

// DialOption configures one Dial. Given to NewDialer it is the default for all
// Dials.
type DialOption interface {
	Option
	applyDial(*dialConfig)
}

// config is all that a Dialer can be told.
type config struct {
	api, login     oauth2.TokenSource
	endpoint       string
	httpClient     *http.Client
	quotaProject   string
	userAgent      string
	refreshTimeout time.Duration
	lazy           bool
	key            crypto.Signer
	resolver       Resolver
	dial           dialConfig
	twoSources     bool    // of credentials were given
	errs           []error // about options that cannot even be stored
}

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
		resolver:       nameResolver{},
		dial: dialConfig{
			types:     []IPType{PublicIP, PrivateIP, PSC},
			dialFunc:  new(net.Dialer).DialContext,
			keepAlive: defaultKeepAlive,
			timeout:   defaultDialTimeout,
		},
	}
	WithOptions(opts...).applyDialer(&c)
	return c, c.validate()
}

// with returns d with opts applied.
func (d dialConfig) with(opts []DialOption) (dialConfig, error) {
	if len(opts) == 0 {
		return d, nil
	}
	DialOptions(opts...).applyDial(&d)
	return d, asConfigError(d.faults())
}

func (c *config) validate() error {
	errs := append(c.errs, c.dial.faults()...)
	if c.refreshTimeout <= 0 {
		errs = append(errs, fmt.Errorf("WithRefreshTimeout: want a positive duration, got %v", c.refreshTimeout))
	}
	if c.resolver == nil {
		errs = append(errs, errors.New("WithResolver: the resolver is nil"))
	}
	if c.endpoint != "" {
		u, err := url.Parse(c.endpoint)
		if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
			errs = append(errs, errors.New("WithAdminAPIEndpoint: want a URL such as https://sqladmin.googleapis.com"))
		}
	}
	if strings.ContainsAny(c.userAgent+c.quotaProject, "\r\n") {
		errs = append(errs, errors.New("WithUserAgent, WithQuotaProject: want one line"))
	}
	if key, ok := c.key.(*rsa.PrivateKey); ok && (key == nil || key.N == nil || key.N.BitLen() < 2048) {
		errs = append(errs, errors.New("WithPrivateKey: want RSA with 2048 bits or more"))
	}
	if c.twoSources {
		errs = append(errs, errors.New("WithTokenSource and WithIAMAuthNTokenSources: want one of them"))
	}
	if c.dial.iam && c.api != nil && c.login == nil {
		errs = append(errs, errors.New("WithIAMAuthN with WithTokenSource: the login token has another scope (sqlservice.login); use WithIAMAuthNTokenSources"))
	}
	return asConfigError(errs)
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

func asConfigError(errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	return &Error{Op: opConfig, Err: &causeError{ErrConfig, oneLine(errs)}}
}

// WithTokenSource sets the source of the tokens that authorise Admin API
// calls. Default: Application Default Credentials, looked up at the first
// Dial. The tokens need the scope sqlservice.admin or cloud-platform.
func WithTokenSource(api oauth2.TokenSource) Option {
	return option(func(c *config) {
		c.twoSources = c.twoSources || c.login != nil
		c.api = api
		if api == nil {
			c.errs = append(c.errs, errors.New("WithTokenSource: the token source is nil"))
		}
	})
}

// WithIAMAuthNTokenSources sets two sources: of the tokens that authorise
// Admin API calls, and of those that log in to the database. The latter should
// have the scope sqlservice.login and no other, since they travel inside
// certificates.
func WithIAMAuthNTokenSources(api, login oauth2.TokenSource) Option {
	return option(func(c *config) {
		c.twoSources = c.twoSources || (c.api != nil && c.login == nil)
		c.api, c.login = api, login
		if api == nil || login == nil {
			c.errs = append(c.errs, errors.New("WithIAMAuthNTokenSources: a token source is nil"))
		}
	})
}

// WithAdminAPIEndpoint sets the root URL of the SQL Admin API. Default:
// https://sqladmin.googleapis.com.
func WithAdminAPIEndpoint(url string) Option {
	return option(func(c *config) { c.endpoint = url })
}

// WithHTTPClient sets the client that carries Admin API calls. Unless a token
// source is set too, it must authorise them by itself, and there is no IAM
// login.
func WithHTTPClient(client *http.Client) Option {
	return option(func(c *config) {
		c.httpClient = client
		if client == nil {
			c.errs = append(c.errs, errors.New("WithHTTPClient: the client is nil"))
		}
	})
}

// WithQuotaProject sets the project that Admin API calls are counted for. The
// caller needs serviceusage.services.use there. Default: none is named, and the
// calls count for the project that the credentials belong to.
func WithQuotaProject(project string) Option {
	return option(func(c *config) { c.quotaProject = project })
}

// WithUserAgent adds a word to the User-Agent of Admin API calls. Given more
// than once, all of them are sent.
func WithUserAgent(ua string) Option {
	return option(func(c *config) { c.userAgent += " " + ua })
}

// WithRefreshTimeout bounds one refresh of an instance's metadata and
// certificate. Default: 60 s.
func WithRefreshTimeout(d time.Duration) Option {
	return option(func(c *config) { c.refreshTimeout = d })
}

// WithLazyRefresh refreshes certificates when a Dial finds them due and never
// in the background: for places where the CPU stops between requests, such as
// serverless functions.
func WithLazyRefresh() Option {
	return option(func(c *config) { c.lazy = true })
}

// WithPrivateKey sets the client key. Default: an RSA key of 2048 bits, made
// in the background, one for the whole process.
func WithPrivateKey(key crypto.Signer) Option {
	return option(func(c *config) {
		c.key = key
		if key == nil {
			c.errs = append(c.errs, errors.New("WithPrivateKey: the key is nil"))
		}
	})
}

// WithResolver sets what turns the names passed to Dial into instances.
// Default: ParseName.
func WithResolver(r Resolver) Option {
	return option(func(c *config) { c.resolver = r })
}

// WithIAMAuthN logs in to the database with the caller's IAM identity, in all
// Dials that do not say otherwise.
func WithIAMAuthN() Option { return WithDialIAMAuthN(true) }

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

// WithOptions groups options.
func WithOptions(opts ...Option) Option {
	opts = slices.Clone(opts)
	return option(func(c *config) {
		for i, o := range opts {
			if o == nil {
				c.errs = append(c.errs, fmt.Errorf("option %d is nil", i))
				continue
			}
			o.applyDialer(c)
		}
	})
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
