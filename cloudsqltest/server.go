package cloudsqltest

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/memnet"
)

// Server emulates the SQL Admin API for the instances added to it, and the
// network between them and their clients. Its methods are safe for concurrent use;
// its fields may be changed before the first request.
type Server struct {
	// OnRequest, if not nil, is called for every request, from many goroutines
	// at once. It returns what goes wrong with it, or nil. It may read the
	// body. When it panics, the panic is logged and the client's connection
	// ends, as with net/http.
	OnRequest func(*http.Request) *Fault

	// OnConnect, if not nil, is called for every TCP connection to an instance,
	// or to a node of it, from many goroutines at once. It returns what happens
	// to the connection, unless the instance has a behaviour of its own.
	OnConnect func(*EmulatedInstance) Behavior

	// OnStream, if not nil, is called for every stream of SQL Data whose session
	// the client has started, from many goroutines at once. It returns what goes
	// wrong with it, or nil, in which case the instance's own fault applies, see
	// [EmulatedInstance.SetStreamFault].
	OnStream func(Stream) *StreamFault

	// AllowAnyKey signs client certificates for keys of any kind. By default
	// only RSA keys are accepted, the one kind that Cloud SQL is known to accept.
	AllowAnyKey bool

	// Principals are the IAM principals, e-mail addresses, that tokens belong
	// to, by token. In addition to Token and LoginToken, which may be among them,
	// these tokens are accepted by the Admin API and in certificates for IAM login.
	// A login with a certificate whose token has a principal must be as the
	// database user of that principal, see [cloudsqlconn.FormatIAMUser], and is
	// refused otherwise, with the engine's own error. Default: none, and no
	// login is checked.
	Principals map[string]string

	// Quota is how many requests a minute the Admin API accepts from a user, who
	// is a principal, or a token without one; further ones get 429. Cloud SQL's
	// default is 180. Zero means any number.
	Quota int

	// MaxRequests is how many of the last requests are kept for [Server.Requests],
	// of the last streams for [SQLData.Streams], and of the last exchanges for
	// [EmulatedInstance.MetadataExchanges]. Zero means all.
	MaxRequests int

	// Logger, if not nil, gets a record of every request and connection: at Info
	// what was asked and what came of it, at Debug the progress of connections.
	Logger *slog.Logger

	url      string
	api      *http.Server
	client   *http.Client
	inMemory bool
	closing  chan struct{}  // closed when Close begins
	done     chan struct{}  // closed when it has ended
	wg       sync.WaitGroup // counts the API's accept loop and connections, and deletions

	mu         sync.Mutex // guards everything below; comes before EmulatedInstance.mu
	token      string
	loginToken string // for certificates
	requests   []*Request
	rules      []*ActiveRule
	spent      map[string]*spending   // by user
	serving    map[*http.Request]bool // requests without a complete answer
	hits       map[*Fault]int
	instances  map[string]*EmulatedInstance // by project:instance
	projects   map[string]bool              // in which there is or was an instance
	routes     map[string]*EmulatedInstance // by host: the last to have that address
	swallowed  map[string]int               // hosts that answer nothing: connections lost there
	lastAddr   int
	sqlData    *SQLData // nil if it was never served
	closed     bool
}

// NewServer starts an Admin API on a free port of 127.0.0.1. The caller should
// call Close when finished.
func NewServer() *Server {
	return start(&Server{}, must(net.Listen("tcp", "127.0.0.1:0")), &http.Transport{})
}

// NewServerOn starts an Admin API on a listener, such as one on a fixed port. Close
// closes the listener. The caller should call Close when finished.
func NewServerOn(l net.Listener) *Server {
	return start(&Server{}, l, &http.Transport{})
}

// NewMemoryServer starts an Admin API on an in-memory network, which can be reached
// only with [Server.Options], or [Server.Client] and [Server.DialContext].
// Everything in it blocks in ways that testing/synctest recognises, so that tests can
// run on fake time: call it, and Close, inside the bubble.
func NewMemoryServer() *Server {
	l := memnet.Listen("sqladmin.test:80")
	return start(&Server{inMemory: true}, l, &http.Transport{DialContext: l.DialContext})
}

// readTimeout is how long a client may take to send a request. It is no round number,
// so that no test on fake time does something at the moment when it is over.
const readTimeout = 61 * time.Second

func start(s *Server, l net.Listener, t *http.Transport) *Server {
	s.url, s.client = "http://"+l.Addr().String(), &http.Client{Transport: t}
	s.token, s.loginToken = "api-token-"+randomHex(16), "login-token-"+randomHex(16)
	s.spent = map[string]*spending{}
	s.closing, s.done = make(chan struct{}), make(chan struct{})
	s.serving, s.hits = map[*http.Request]bool{}, map[*Fault]int{}
	s.instances, s.projects = map[string]*EmulatedInstance{}, map[string]bool{}
	s.routes, s.swallowed = map[string]*EmulatedInstance{}, map[string]int{}
	s.api = &http.Server{
		Handler:                      http.HandlerFunc(s.serveAPI),
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     log.New(io.Discard, "", 0), // faults make it say a lot
		ReadTimeout:                  readTimeout,
		IdleTimeout:                  -1, // as long as the client likes: no call meets the end of a connection
		ConnState:                    s.countConn,
		ConnContext:                  withConn,
	}
	s.wg.Go(func() { _ = s.api.Serve(l) })
	return s
}

// countConn makes Close wait for the connections of the Admin API. No handler
// hijacks one.
func (s *Server) countConn(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew: // the accept loop still counts
		s.wg.Add(1)
	case http.StateClosed:
		s.wg.Done()
	}
}

// URL is the root of the Admin API.
func (s *Server) URL() string { return s.url }

// Client returns a client that can reach the Admin API, in memory too. It does not
// add a token.
func (s *Server) Client() *http.Client { return s.client }

// Options returns options that make a Dialer use this server: its endpoint, its
// tokens, and its network to the instances, and to SQL Data if that is served.
// Options that come later override them, except those that set other credentials: a
// Dialer has one source of them. For such a Dialer pass
// WithAdminAPIEndpoint(s.URL()) and WithDialFunc(s.DialContext).
func (s *Server) Options() []cloudsqlconn.Option {
	opts := []cloudsqlconn.Option{
		cloudsqlconn.WithAdminAPIEndpoint(s.URL()),
		cloudsqlconn.WithIAMAuthNTokenSources(
			oauth2.StaticTokenSource(&oauth2.Token{AccessToken: s.Token()}),
			oauth2.StaticTokenSource(&oauth2.Token{AccessToken: s.LoginToken()}),
		),
		cloudsqlconn.WithDialFunc(s.DialContext),
	}
	if s.inMemory {
		opts = append(opts, cloudsqlconn.WithHTTPClient(s.client))
	}
	if d := s.served(); d != nil {
		opts = append(opts, cloudsqlconn.WithSQLDataEndpoint(d.Endpoint()))
	}
	return opts
}

// AddInstance creates an instance, named project:region:instance, and starts
// its server-side proxy. It panics if the name is wrong or taken, the Server is
// closed, or cfg contradicts itself: these are mistakes in the test.
func (s *Server) AddInstance(name string, cfg Instance) *EmulatedInstance {
	p := newInstance(s, must(cloudsqlconn.ParseName(name)), cfg)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.instances[p.key()] != nil {
		p.halt(true)
		panic(fmt.Sprintf("cloudsqltest: AddInstance(%q): the instance exists, or the Server is closed", name))
	}
	s.instances[p.key()] = p
	s.projects[p.name.Project()] = true
	for _, one := range p.all() {
		s.routeLocked(one)
		one.serve()
	}
	return p
}

// DeleteInstance stops an instance for good and forgets it; deleting it again
// does nothing. An instance of the same name can then be added; it has new CAs, and
// new addresses unless it is given the same.
func (s *Server) DeleteInstance(p *EmulatedInstance) {
	s.mu.Lock()
	if s.instances[p.key()] == p {
		delete(s.instances, p.key())
	}
	if !s.closed {
		s.wg.Add(1)
		defer s.wg.Done()
	}
	s.mu.Unlock()
	p.halt(true)
	p.Stop()
}

type connKey struct{}

// withConn lets a handler find its connection.
func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// must is for what fails only when the kit itself is wrong.
func must[T any](v T, err error) T {
	if err != nil {
		panic("cloudsqltest: " + err.Error())
	}
	return v
}
