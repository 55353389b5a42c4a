package cloudsqltest

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"syscall"
	"time"

	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/internal/memnet"
)

// closePatience is how long Close waits before it says what it waits for.
const closePatience = 5 * time.Second

// Server emulates the SQL Admin API for the instances added to it. Its methods
// are safe for concurrent use; its fields may be changed before the first
// request.
type Server struct {
	// OnRequest, if not nil, is called for every request, from many goroutines
	// at once. It returns what goes wrong with it, or nil. It may read the
	// body.
	OnRequest func(*http.Request) *Fault

	// AllowAnyKey signs client certificates for keys of every kind. By default
	// only RSA keys are accepted, the one kind that Cloud SQL is known to take.
	AllowAnyKey bool

	api               *httptest.Server
	client            *http.Client // for the in-memory network; nil on loopback
	inMemory          bool
	token, loginToken string
	closing           chan struct{}

	mu        sync.Mutex // guards everything below
	requests  []Request
	proxies   map[string]*Proxy // by project:instance
	routes    map[string]*Proxy // by host
	swallowed map[string]int    // hosts that answer nothing: connections lost there
	lastAddr  int
	closed    bool
}

// NewServer starts an Admin API on a free port of 127.0.0.1.
func NewServer() *Server {
	return start(&Server{}, must(net.Listen("tcp", "127.0.0.1:0")))
}

// NewMemoryServer starts an Admin API on a network in memory, which only the
// Dialers see that are made with [Server.Options]. Everything in it blocks in
// a way that testing/synctest understands, so that tests can run on fake time.
func NewMemoryServer() *Server {
	l := memnet.Listen("sqladmin.test:80")
	s := &Server{inMemory: true, client: &http.Client{Transport: &http.Transport{DialContext: l.DialContext}}}
	return start(s, l)
}

func start(s *Server, l net.Listener) *Server {
	s.token, s.loginToken = "api-token-"+randomHex(16), "login-token-"+randomHex(16)
	s.closing = make(chan struct{})
	s.proxies, s.routes, s.swallowed = map[string]*Proxy{}, map[string]*Proxy{}, map[string]int{}
	s.api = httptest.NewUnstartedServer(http.HandlerFunc(s.serveAPI))
	_ = s.api.Listener.Close()
	s.api.Listener = l
	s.api.Config.ErrorLog = log.New(discard{}, "", 0) // faults make it say a lot
	s.api.Start()
	return s
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

// URL is the root of the Admin API.
func (s *Server) URL() string { return s.api.URL }

// Token is the bearer token that the Admin API accepts.
func (s *Server) Token() string { return s.token }

// LoginToken is the token that it puts into certificates for IAM login.
func (s *Server) LoginToken() string { return s.loginToken }

// Options makes a Dialer use this server: its endpoint, its tokens, and its
// way to the instances. Options that come later override them.
func (s *Server) Options() []cloudsqlconn.Option {
	opts := []cloudsqlconn.Option{
		cloudsqlconn.WithAdminAPIEndpoint(s.URL()),
		cloudsqlconn.WithIAMAuthNTokenSources(
			oauth2.StaticTokenSource(&oauth2.Token{AccessToken: s.token}),
			oauth2.StaticTokenSource(&oauth2.Token{AccessToken: s.loginToken}),
		),
		cloudsqlconn.WithDialFunc(s.DialContext),
	}
	if s.client != nil {
		opts = append(opts, cloudsqlconn.WithHTTPClient(s.client))
	}
	return opts
}

// DialContext connects to the instance that has the address addr, whatever
// its port: it is the emulated network. No real port 3307 is needed.
func (s *Server) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: memnet.Addr(addr), Err: err}
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fail(err)
	}
	s.mu.Lock()
	p := s.routes[host]
	_, lost := s.swallowed[host]
	if lost {
		s.swallowed[host]++
	}
	s.mu.Unlock()
	if lost {
		<-ctx.Done()
		return fail(ctx.Err())
	}
	if p == nil {
		return fail(syscall.ECONNREFUSED)
	}
	return p.dial(ctx, network, addr)
}

// Swallow makes an address answer nothing, as a firewall does that drops
// packets: connecting to it through [Server.DialContext] takes until the
// caller gives up.
func (s *Server) Swallow(host string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.swallowed[host] += 0
}

// Restore undoes Swallow and returns how many connections were lost.
func (s *Server) Restore(host string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.swallowed[host]
	delete(s.swallowed, host)
	return n
}

// Requests returns the requests so far, oldest first.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.requests...)
}

// AddInstance creates an instance, named project:region:instance, and starts
// its server-side proxy. It panics if the name is wrong or taken: both are
// mistakes in the test.
func (s *Server) AddInstance(name string, cfg Instance) *Proxy {
	n := must(cloudsqlconn.ParseName(name))
	p := newProxy(s, n, cfg)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		panic("cloudsqltest: AddInstance on a closed Server")
	}
	if s.proxies[p.key()] != nil {
		panic(fmt.Sprintf("cloudsqltest: instance %s exists", p.key()))
	}
	s.proxies[p.key()] = p
	s.routeLocked(p)
	return p
}

// DeleteInstance stops an instance and forgets it. An instance of the same name
// can be added again; it has other CAs.
func (s *Server) DeleteInstance(p *Proxy) {
	s.mu.Lock()
	delete(s.proxies, p.key())
	s.unrouteLocked(p)
	s.mu.Unlock()
	p.Stop()
}

// routeLocked makes the instance's addresses lead to it.
func (s *Server) routeLocked(p *Proxy) {
	for _, host := range p.addrs {
		s.routes[host] = p
	}
}

func (s *Server) unrouteLocked(p *Proxy) {
	for host, owner := range s.routes {
		if owner == p {
			delete(s.routes, host)
		}
	}
}

// nextAddrs returns a public and a private address that no other instance of
// this server has. They are loopback addresses, so that a client which
// ignores [Server.DialContext] does not leave the machine.
func (s *Server) nextAddrs() (public, private string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastAddr++
	n := s.lastAddr
	return fmt.Sprintf("127.1.%d.%d", n/250, n%250+1), fmt.Sprintf("127.2.%d.%d", n/250, n%250+1)
}

// Close stops the Admin API and all instances, cuts their connections, and
// waits until everything has ended. What keeps it waiting for more than five
// seconds is logged. It can be called again.
func (s *Server) Close() {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed = true
	proxies := s.proxies
	s.mu.Unlock()

	close(s.closing)
	for _, p := range proxies {
		p.Stop()
	}
	if s.client != nil {
		s.client.CloseIdleConnections()
	}
	s.api.CloseClientConnections()
	s.api.Close()
}
