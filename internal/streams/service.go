// Package streams is SQL Data as one Dialer uses it: TCP connections to the service
// that calls share, pauses when it is exhausted, and repeated tries to open a stream.
// It knows nothing of addresses of instances, nor of what is done when SQL Data does
// not serve one.
package streams

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync"

	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/auth"
	"github.com/cloudsqlconn/cloudsqlconn/internal/failure"
	"github.com/cloudsqlconn/cloudsqlconn/internal/netdial"
	"github.com/cloudsqlconn/cloudsqlconn/internal/reach"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata/wire"
)

// Config is what a [Service] needs. Only HTTPClient, QuotaProject and Principal may
// be missing.
type Config struct {
	Endpoint     sqldata.Endpoint
	UserAgent    string
	Admin        *admin.Client // has the tokens
	QuotaProject string        // "": that of the token
	Principal    func() string // who calls, as far as that is known
	HTTPClient   *http.Client  // whose TLS configuration is used, if it shows one
}

// Service is SQL Data. Its methods are safe for concurrent use.
type Service struct {
	cfg    Config
	client *sqldata.Client

	mu           sync.Mutex // guards everything below
	quotaProject string     // that was named last
	routes       map[any]*route
}

// New returns a Service. Nothing is opened before the first [Service.Open].
func New(cfg Config) *Service {
	s := &Service{cfg: cfg, routes: map[any]*route{}}
	s.client = sqldata.New(sqldata.Config{
		Endpoint:    cfg.Endpoint,
		UserAgent:   cfg.UserAgent,
		Credentials: s.credentials,
		Replace:     cfg.Admin.Replace,
		TLS:         tlsConfig(cfg.HTTPClient),
	})
	return s
}

// Close lets nothing more be opened. Streams that are open go on.
func (s *Service) Close() { s.client.Close() }

// errNoToken is for SQL Data without a source of tokens.
var errNoToken = &admin.ConfigError{
	Problem: "SQL Data needs an access token, and the HTTP client of WithHTTPClient keeps its own to itself",
	Hint:    "Say with WithTokenSource, WithCredentialsFile or WithCredentialsJSON which credentials to use, with an HTTP client that adds none.",
}

// Token returns the token that authorises streams.
func Token(ctx context.Context, client *admin.Client) (*oauth2.Token, error) {
	tok, err := client.Token(ctx)
	if err == nil && tok == nil {
		err = errNoToken
	}
	return tok, err
}

func (s *Service) credentials(ctx context.Context) (sqldata.Credentials, error) {
	tok, err := Token(ctx, s.cfg.Admin)
	if err != nil {
		return sqldata.Credentials{}, err
	}
	project := cmp.Or(s.cfg.QuotaProject, auth.QuotaProject(tok))
	s.mu.Lock()
	s.quotaProject = project
	s.mu.Unlock()
	return sqldata.Credentials{Token: tok.AccessToken, QuotaProject: project}, nil
}

func tlsConfig(client *http.Client) *tls.Config {
	if client != nil {
		if t, ok := client.Transport.(*http.Transport); ok && t.TLSClientConfig != nil {
			return t.TLSClientConfig.Clone()
		}
	}
	return &tls.Config{MinVersion: tls.VersionTLS12}
}

// Call is a stream that is to be opened.
type Call struct {
	To admin.Instance

	IAM   bool // log in as the account of the token
	Way   reach.Way
	WayID any // comparable: calls share connections if it is the same
}

// Open opens a stream.
func (s *Service) Open(ctx context.Context, call *Call) (*sqldata.Conn, error) {
	session := wire.NewSession(call.To.Project, call.To.Region, call.To.ID)
	if call.IAM {
		session.AuthenticationType = wire.AutoIAM
	}
	r := s.route(call)
	conn, err := s.client.Open(ctx, session, &r.Route)
	switch {
	case err == nil:
		return conn, nil
	case errors.Is(err, sqldata.ErrClosed):
		return nil, failure.ErrDialerClosed
	}
	failed, ok := s.Explain(err).(*Error) //nolint:errorlint // it has just been made
	if !ok {
		return nil, err
	}
	if failed.Lost() {
		failed.Cause = r.lastFailure()
	}
	return nil, failed
}

// Explain returns err, the error of a stream, with what is known about the call.
func (s *Service) Explain(err error) error {
	status, ok := errors.AsType[*sqldata.StatusError](err)
	if !ok {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return &Error{StatusError: status, Principal: s.cfg.Principal(), QuotaProject: s.quotaProject}
}

// maxRoutes bounds the routes that are remembered. More of them come only of
// options that are made anew for each Dial.
const maxRoutes = 64

// route is how TCP connections to the service are opened, and why the last one
// was not: gRPC passes on no more than the text.
type route struct {
	sqldata.Route
	way     reach.Way
	service string // its URL

	mu     sync.Mutex // guards failed
	failed error      // nil: it was
}

// route returns the way to the service that a call wants.
func (s *Service) route(call *Call) *route {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.routes[call.WayID]
	if r == nil {
		if len(s.routes) >= maxRoutes {
			for _, old := range s.routes {
				s.client.Forget(&old.Route)
			}
			clear(s.routes)
		}
		r = &route{way: call.Way, service: s.cfg.Endpoint.String()}
		r.Dial = r.dial
		s.routes[call.WayID] = r
	}
	return r
}

// dial opens a TCP connection to the service.
func (r *route) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	way := r.way
	if !way.Foreign && way.Proxy == nil {
		p, err := netdial.ForURL(r.service)
		if err != nil {
			return nil, r.dialed(&admin.ConfigError{Problem: "the proxy of the environment", Err: err})
		}
		way.Proxy = p
	}
	conn, err := way.Open(ctx, addr)
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
