package cloudsqlconn

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/auth"
	"github.com/cloudsqlconn/cloudsqlconn/internal/netdial"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata/wire"
)

// service is SQL Data, as one Dialer uses it. Dialer.mu guards it.
type service struct {
	client       *sqldata.Client
	quotaProject string // that was named last
	routes       map[routeKey]*route
}

// closeLocked closes the client. Its streams go on.
func (s *service) closeLocked() { s.client.Close() }

// maxRoutes bounds the routes that a Dialer remembers. More of them come only of
// options that are made anew for each Dial.
const maxRoutes = 64

// routeKey tells routes apart.
type routeKey struct {
	dial      *DialFunc
	proxy     string
	keepAlive time.Duration
}

// route is how TCP connections to the service are opened, and why the last one
// was not: gRPC passes on no more than the text.
type route struct {
	sqldata.Route
	dialer *Dialer
	dc     dialConfig

	mu     sync.Mutex // guards failed
	failed error      // nil: it was
}

// errNoToken is for SQL Data without a source of tokens.
var errNoToken = &admin.ConfigError{
	Problem: "SQL Data needs an access token, and the HTTP client of WithHTTPClient keeps its own to itself",
	Hint:    "Say with WithTokenSource, WithCredentialsFile or WithCredentialsJSON which credentials to use, with an HTTP client that adds none.",
}

// streamToken returns the token that authorises streams.
func (d *Dialer) streamToken(ctx context.Context) (*oauth2.Token, error) {
	tok, err := d.admin.Token(ctx)
	if err == nil && tok == nil {
		err = errNoToken
	}
	return tok, err
}

// openStream opens a stream to the instance n.
func (d *Dialer) openStream(ctx context.Context, n Name, iam bool, dc *dialConfig) (*sqldata.Conn, error) {
	session := wire.NewSession(n.project, n.region, n.instance)
	if iam {
		session.AuthenticationType = wire.AutoIAM
	}
	client, r, err := d.service(dc)
	if err != nil {
		return nil, err
	}
	conn, err := client.Open(ctx, session, &r.Route)
	switch {
	case err == nil:
		return conn, nil
	case errors.Is(err, sqldata.ErrClosed):
		return nil, ErrDialerClosed
	}
	return nil, d.streamError(err, r)
}

// service returns the client of SQL Data, and the way to it that dc says.
func (d *Dialer) service(dc *dialConfig) (*sqldata.Client, *route, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.connectors == nil {
		return nil, nil, ErrDialerClosed
	}
	s, ok := d.sqlData.(*service)
	if !ok {
		s = &service{routes: map[routeKey]*route{}}
		s.client = sqldata.New(d.serviceConfig(s))
		d.sqlData = s
	}
	key := routeKey{dc.dialID, dc.proxyID, dc.tcp.KeepAlive}
	r := s.routes[key]
	if r == nil {
		if len(s.routes) >= maxRoutes {
			for _, old := range s.routes {
				s.client.Forget(&old.Route)
			}
			clear(s.routes)
		}
		r = &route{dialer: d, dc: *dc}
		r.Dial = r.dial
		s.routes[key] = r
	}
	return s.client, r, nil
}

func (d *Dialer) serviceConfig(s *service) sqldata.Config {
	cfg := sqldata.Config{
		Endpoint:  d.cfg.serviceEndpoint(),
		UserAgent: d.cfg.userAgent,
		Credentials: func(ctx context.Context) (sqldata.Credentials, error) {
			tok, err := d.streamToken(ctx)
			if err != nil {
				return sqldata.Credentials{}, err
			}
			project := cmp.Or(d.cfg.quotaProject, auth.QuotaProject(tok))
			d.mu.Lock()
			s.quotaProject = project
			d.mu.Unlock()
			return sqldata.Credentials{Token: tok.AccessToken, QuotaProject: project}, nil
		},
		Replace: d.admin.Replace,
	}
	if client := d.cfg.httpClient; client != nil {
		if t, ok := client.Transport.(*http.Transport); ok && t.TLSClientConfig != nil {
			cfg.TLS = t.TLSClientConfig.Clone()
		}
	}
	if cfg.TLS == nil {
		cfg.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return cfg
}

// serviceEndpoint is where SQL Data is: on the host of the Admin API, if nothing
// else is said.
func (c *config) serviceEndpoint() sqldata.Endpoint {
	if c.sqlData.Host != "" {
		return c.sqlData
	}
	return c.apiEndpoint()
}

// apiEndpoint is where the Admin API is.
func (c *config) apiEndpoint() sqldata.Endpoint {
	u, err := url.Parse(c.endpoint)
	if err != nil { // it has been checked
		return sqldata.Endpoint{}
	}
	e := sqldata.Endpoint{Host: u.Hostname(), Port: u.Port(), Plaintext: u.Scheme == "http"}
	switch {
	case e.Port != "":
	case e.Plaintext:
		e.Port = "80"
	default:
		e.Port = "443"
	}
	return e
}

// dial opens a TCP connection to the service.
func (r *route) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	dc := r.dc
	if !dc.tcp.Foreign && dc.tcp.Proxy == nil {
		p, err := netdial.ForURL(r.dialer.cfg.serviceEndpoint().String())
		if err != nil {
			return nil, r.dialed(&admin.ConfigError{Problem: "the proxy of the environment", Err: err})
		}
		dc.tcp.Proxy = p
	}
	conn, err := dc.tcp.Open(ctx, addr)
	return conn, r.dialed(err)
}

// dialed notes why a connection was not opened, and returns it.
func (r *route) dialed(err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = err
	return err
}

// lastFailure returns why the last connection was not opened, nil if it was.
func (r *route) lastFailure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

// streamError is the status with which a stream has failed, and what its hint
// tells. Its text is the status's, which has the cause in it.
type streamError struct {
	*sqldata.StatusError
	cause        error // why no connection could be opened; nil: that is not why
	principal    string
	quotaProject string
}

func (e *streamError) Unwrap() []error {
	if e.cause == nil {
		return []error{e.StatusError}
	}
	return []error{e.StatusError, e.cause}
}

// streamError returns err, the error of a stream or of its opening, with what is
// known about it.
func (d *Dialer) streamError(err error, r *route) error {
	status, ok := errors.AsType[*sqldata.StatusError](err)
	if !ok {
		return err
	}
	e := &streamError{StatusError: status, principal: d.credentials.KnownEmail()}
	d.mu.Lock()
	if s, ok := d.sqlData.(*service); ok {
		e.quotaProject = s.quotaProject
	}
	d.mu.Unlock()
	if r != nil && lost(status) {
		e.cause = r.lastFailure()
	}
	return e
}
