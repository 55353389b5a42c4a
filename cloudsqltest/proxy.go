package cloudsqltest

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"maps"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/internal/memnet"
)

// Behavior is what an instance does with a new connection.
type Behavior int

// The behaviours of an instance.
const (
	Healthy        Behavior = iota
	Silent                  // accepts, reads, and never says anything
	StallHandshake          // begins its answer to the TLS handshake and stops
)

// Proxy is the server-side proxy of an emulated instance. It speaks TLS 1.3,
// asks for a certificate of the instance's client CA, and forwards to the
// backend. A bad client certificate is refused as TLS 1.3 does it: the client
// believes the handshake is over, and its first Read fails. Its methods are
// safe for concurrent use.
type Proxy struct {
	server *Server
	name   cloudsqlconn.Name
	id     string
	wg     sync.WaitGroup // counts accept loops and connections

	mu        sync.Mutex // guards everything below
	cfg       Instance
	addrs     map[cloudsqlconn.IPType]string
	behavior  Behavior
	identity  *serverIdentity
	clientCA  *authority
	tls       *tls.Config    // for identity and clientCA
	listeners []net.Listener // none while stopped
	conns     map[net.Conn]bool
	accepted  int
}

// Conn is a connection as a Handler sees it: decrypted, from a client that has
// shown a good certificate.
type Conn struct {
	*tls.Conn
	token string
}

// Token returns the login token in the client's certificate, or "".
func (c *Conn) Token() string { return c.token }

func newProxy(s *Server, n cloudsqlconn.Name, cfg Instance) *Proxy {
	p := &Proxy{
		server:   s,
		name:     n,
		id:       n.Instance(),
		cfg:      cfg.withDefaults(n.Region()),
		clientCA: newClientCA(),
		conns:    map[net.Conn]bool{},
	}
	p.addrs = p.cfg.Addrs
	if p.cfg.ListenOn3307 {
		p.listenOn3307()
	} else {
		if p.addrs == nil {
			p.addrs = map[cloudsqlconn.IPType]string{}
			p.addrs[cloudsqlconn.PublicIP], p.addrs[cloudsqlconn.PrivateIP] = s.nextAddrs()
		}
		p.listeners = []net.Listener{p.listen()}
	}
	p.RotateServerCA()
	for _, l := range p.listeners {
		p.wg.Go(func() { p.serve(l) })
	}
	return p
}

// listen opens the listener that stands behind all addresses of the emulated
// network.
func (p *Proxy) listen() net.Listener {
	if p.server.inMemory {
		return memnet.Listen(p.id + ".test:3307")
	}
	return must(net.Listen("tcp", "127.0.0.1:0"))
}

// listenOn3307 finds two loopback addresses whose port 3307 is free.
func (p *Proxy) listenOn3307() {
	for {
		public, private := p.server.nextAddrs()
		first, err := net.Listen("tcp", net.JoinHostPort(public, "3307"))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		must(first, err)
		second, err := net.Listen("tcp", net.JoinHostPort(private, "3307"))
		if errors.Is(err, syscall.EADDRINUSE) {
			_ = first.Close()
			continue
		}
		must(second, err)
		p.listeners = []net.Listener{first, second}
		p.addrs = map[cloudsqlconn.IPType]string{cloudsqlconn.PublicIP: public, cloudsqlconn.PrivateIP: private}
		return
	}
}

// key is project:instance, as the Admin API names the instance.
func (p *Proxy) key() string { return p.name.Project() + ":" + p.id }

// Name returns project:region:instance.
func (p *Proxy) Name() string { return p.name.String() }

// Addr returns the address at which the proxy really listens, or nil while it
// is stopped.
func (p *Proxy) Addr() net.Addr {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.listeners) == 0 {
		return nil
	}
	return p.listeners[0].Addr()
}

// Addrs returns the instance's addresses in the metadata.
func (p *Proxy) Addrs() map[cloudsqlconn.IPType]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.addrs)
}

// SetAddrs moves the instance: the metadata names the new addresses from now
// on, and the old ones refuse connections; see also [Server.Swallow].
// Connections stay open.
func (p *Proxy) SetAddrs(addrs map[cloudsqlconn.IPType]string) {
	p.server.mu.Lock()
	defer p.server.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.server.unrouteLocked(p)
	p.addrs = maps.Clone(addrs)
	p.server.routeLocked(p)
}

// SetBehavior says what happens to connections from now on.
func (p *Proxy) SetBehavior(b Behavior) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.behavior = b
}

// RotateServerCA gives the instance another server CA and certificate.
// Connections stay open.
func (p *Proxy) RotateServerCA() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.identity = newServerIdentity(p.name.Project(), p.id, &p.cfg)
	p.resetTLSLocked()
}

// RotateClientCA gives the instance another client CA: it refuses the
// certificates signed so far. Connections stay open.
func (p *Proxy) RotateClientCA() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clientCA = newClientCA()
	p.resetTLSLocked()
}

// resetTLSLocked makes a configuration that shares no session with the one
// before.
func (p *Proxy) resetTLSLocked() {
	skew := p.cfg.ClockSkew
	p.tls = &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{p.identity.cert},
		ClientAuth:             tls.RequireAndVerifyClientCert,
		ClientCAs:              p.clientCA.pool(),
		Time:                   func() time.Time { return time.Now().Add(skew) },
		SessionTicketsDisabled: p.cfg.NoSessionTickets,
	}
}

// SetCertTTL changes the life of client certificates signed from now on. A
// negative one makes them expired.
func (p *Proxy) SetCertTTL(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cfg.CertTTL = d
}

func (p *Proxy) certTTL() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cfg.CertTTL
}

func (p *Proxy) signClient(public crypto.PublicKey, token string, ttl time.Duration) *x509.Certificate {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	from := now.Add(min(ttl, 0) - time.Minute)
	return p.clientCA.clientCert(public, token, from, now.Add(ttl))
}

// Stop makes the instance refuse connections, cuts the open ones, and returns
// when all of them have ended.
func (p *Proxy) Stop() {
	p.mu.Lock()
	for _, l := range p.listeners {
		_ = l.Close()
	}
	p.listeners = nil
	p.mu.Unlock()
	p.CutConnections(false)
	patience := time.AfterFunc(closePatience, func() {
		log.Printf("cloudsqltest: %s: still waiting for the handlers of %d connections to return", p.name, p.open())
	})
	defer patience.Stop()
	p.wg.Wait()
}

// Start undoes Stop. The instance keeps its CAs and addresses.
func (p *Proxy) Start() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.listeners) > 0 {
		return
	}
	if p.cfg.ListenOn3307 {
		for _, ip := range p.addrs {
			p.listeners = append(p.listeners, must(net.Listen("tcp", net.JoinHostPort(ip, "3307"))))
		}
	} else {
		p.listeners = []net.Listener{p.listen()}
	}
	for _, l := range p.listeners {
		p.wg.Go(func() { p.serve(l) })
	}
}

// CutConnections closes all open connections, with a TCP reset or in an
// orderly way, and returns how many there were.
func (p *Proxy) CutConnections(withReset bool) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		if withReset {
			reset(c)
		} else {
			_ = c.Close()
		}
	}
	return len(p.conns)
}

// Accepted returns how many TCP connections the instance has accepted.
func (p *Proxy) Accepted() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.accepted
}

func (p *Proxy) open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns)
}

// dial is how the emulated network reaches the instance.
func (p *Proxy) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	p.mu.Lock()
	var l net.Listener
	if len(p.listeners) > 0 {
		l = p.listeners[0]
	}
	p.mu.Unlock()
	switch l := l.(type) {
	case nil:
		return nil, &net.OpError{Op: "dial", Net: network, Addr: memnet.Addr(addr), Err: syscall.ECONNREFUSED}
	case *memnet.Listener:
		return l.DialContext(ctx, network, addr)
	default:
		return new(net.Dialer).DialContext(ctx, l.Addr().Network(), l.Addr().String())
	}
}

func (p *Proxy) serve(l net.Listener) {
	for {
		raw, err := l.Accept()
		if err != nil {
			return // closed by Stop
		}
		p.wg.Go(func() { p.handle(raw) })
	}
}

// handle serves one connection.
func (p *Proxy) handle(raw net.Conn) {
	defer raw.Close()
	p.mu.Lock()
	if len(p.listeners) == 0 {
		p.mu.Unlock()
		return // Stop has already cut all connections
	}
	p.conns[raw] = true
	p.accepted++
	behavior, cfg, tlsConfig := p.behavior, p.cfg, p.tls
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.conns, raw)
		p.mu.Unlock()
	}()

	stream := raw
	switch behavior {
	case Silent:
		_, _ = io.Copy(io.Discard, raw)
		return
	case StallHandshake:
		stream = &stalledConn{Conn: raw}
	}
	tc := tls.Server(stream, tlsConfig)
	if err := tc.Handshake(); err != nil {
		linger(raw)
		return
	}
	conn := &Conn{Conn: tc, token: embeddedToken(tc.ConnectionState().PeerCertificates[0])}
	defer conn.Close()
	switch {
	case conn.token != "" && cfg.IAMBackend != "":
		forward(conn, cfg.IAMBackend)
	case cfg.Backend != "":
		forward(conn, cfg.Backend)
	default:
		cfg.Handler(conn)
	}
}

// lingerTime is how long a refused client may take to read why.
const lingerTime = time.Second

// linger ends a connection so that what was written last arrives: closing a
// socket that has unread data resets it, and the alert would be lost.
func linger(c net.Conn) {
	closeWrite(c)
	_ = c.SetReadDeadline(time.Now().Add(lingerTime))
	_, _ = io.Copy(io.Discard, c)
}

// forward joins c to the backend.
func forward(c *Conn, addr string) {
	network := "tcp"
	if strings.HasPrefix(addr, "/") {
		network = "unix"
	}
	backend, err := net.Dial(network, addr)
	if err != nil {
		log.Printf("cloudsqltest: backend: %v", err)
		return
	}
	defer backend.Close()
	var wg sync.WaitGroup
	wg.Go(func() { copyHalf(backend, c) })
	copyHalf(c, backend)
	wg.Wait()
}

// copyHalf copies until src ends, and passes the end on. After an error
// neither direction has a future.
func copyHalf(dst, src net.Conn) {
	if _, err := io.Copy(dst, src); err != nil {
		_ = dst.Close()
		_ = src.Close()
		return
	}
	closeWrite(dst)
}

func closeWrite(c net.Conn) {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
		return
	}
	_ = c.Close()
}

// stalledConn lets out the beginning of an answer and no more.
type stalledConn struct {
	net.Conn
}

func (c *stalledConn) Write(b []byte) (int, error) {
	if _, err := c.Conn.Write(b[:min(len(b), 5)]); err != nil {
		return 0, err
	}
	_, err := io.Copy(io.Discard, c.Conn) // until the client gives up, or Stop
	return 0, errors.Join(io.ErrClosedPipe, err)
}
