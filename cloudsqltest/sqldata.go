package cloudsqltest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/internal/certs"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/internal/sockets"
)

// SQLDataConfig says how [Server.ServeSQLData] serves.
type SQLDataConfig struct {
	// Listener is where the service listens; Close closes it. Default: a free
	// port of 127.0.0.1, or the in-memory network.
	Listener net.Listener

	// TLS makes the service speak TLS, with a certificate for localhost,
	// 127.0.0.1, ::1, sqladmin.googleapis.com and the address of the listener. Each
	// service has a new CA: see [SQLData.CA]. Default: cleartext HTTP/2.
	TLS bool

	// MaxStreams is how many streams a client may have open on an HTTP/2
	// connection at a time. Google's front end allows 100. Zero means any number.
	MaxStreams int

	// MinPingInterval is how far apart a client's pings have to be: the third
	// that comes too early ends the connection, by GOAWAY with
	// ENHANCE_YOUR_CALM. Zero means any number of pings.
	MinPingInterval time.Duration
}

// SQLData is the emulated SQL Data service: gRPC streams to the databases of those
// instances that have [Instance].SQLData. Its methods are safe for concurrent use.
type SQLData struct {
	server   *Server
	cfg      SQLDataConfig
	listener net.Listener
	ca       *certs.Authority // nil without TLS
	tls      *tls.Config      // the same
	wg       sync.WaitGroup
	closing  chan struct{}

	mu       sync.Mutex // guards everything below
	behavior Behavior
	conns    map[*sqlDataConn]bool
	streams  []*Stream
	hits     map[*StreamFault]int
	counts   SQLDataCounts
	closed   bool
}

// SQLDataCounts is what has happened to the TCP connections of an [SQLData].
// Everything is counted before the client can notice it.
type SQLDataCounts struct {
	Accepted     int // TCP connections, including those below
	Refused      int // attempts to connect after Close
	Swallowed    int // attempts to connect that got no answer: Unreachable
	Silent       int // connections that got no answer: Silent
	Dropped      int // connections ended by CloseAtOnce and ResetAtOnce
	Cut          int // connections ended by CutConnections, GoAway and Close
	BlackHoled   int // connections that BlackHole has cut off
	GoneAway     int // connections that GoAway has sent a GOAWAY on
	Pings        int // PING frames of clients, without answers to the service's
	TooManyPings int // connections ended for too many of them: MinPingInterval
}

// ServeSQLData starts the SQL Data service. From then on [Server.Options] includes
// its address, and [Server.DialContext] connects to it. It panics if the service is
// already being served, or if the Server is closed. [Server.Close] closes the
// service.
func (s *Server) ServeSQLData(cfg SQLDataConfig) *SQLData {
	d := &SQLData{server: s, cfg: cfg, listener: cfg.Listener, conns: map[*sqlDataConn]bool{}, hits: map[*StreamFault]int{}, closing: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.sqlData != nil && !s.sqlData.isClosed() {
		panic("cloudsqltest: ServeSQLData: SQL Data is served, or the Server is closed")
	}
	if d.listener == nil {
		d.listener = s.listen("sqldata.test:443")
	}
	if cfg.TLS {
		d.ca = certs.NewAuthority("SQL Data of cloudsqltest")
		d.tls = &tls.Config{Certificates: []tls.Certificate{d.certificate()}, NextProtos: []string{"h2"}}
	}
	s.sqlData = d
	d.wg.Go(func() {
		sockets.Accept(d.listener, func(raw net.Conn) { d.wg.Go(func() { d.handle(raw) }) })
	})
	return d
}

// certificate makes the service's.
func (d *SQLData) certificate() tls.Certificate {
	template := &x509.Certificate{
		DNSNames:    []string{"localhost", googleHost},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		NotBefore:   time.Now().Add(-time.Hour),
		NotAfter:    time.Now().AddDate(1, 0, 0),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	host, _, _ := net.SplitHostPort(d.listener.Addr().String())
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = append(template.IPAddresses, ip)
	} else {
		template.DNSNames = append(template.DNSNames, host)
	}
	return d.ca.Issue(template)
}

// Endpoint returns the URL to pass to [cloudsqlconn.WithSQLDataEndpoint]: http:// or
// https://, host and port.
func (d *SQLData) Endpoint() string {
	if d.tls != nil {
		return "https://" + d.Addr().String()
	}
	return "http://" + d.Addr().String()
}

// Addr returns the address at which the service listens.
func (d *SQLData) Addr() net.Addr { return d.listener.Addr() }

// CA returns the certificate of the service's CA as PEM, for a file that
// SSL_CERT_FILE or GRPC_DEFAULT_SSL_ROOTS_FILE_PATH names. It is empty without
// TLS.
func (d *SQLData) CA() string {
	if d.ca == nil {
		return ""
	}
	return d.ca.PEM()
}

// RootCAs returns a pool with that certificate, or an empty one.
func (d *SQLData) RootCAs() *x509.CertPool {
	if d.ca == nil {
		return x509.NewCertPool()
	}
	return d.ca.Pool()
}

// Counts returns what has happened so far.
func (d *SQLData) Counts() SQLDataCounts {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.counts
}

// count adds one to n, a field of d.counts.
func (d *SQLData) count(n *int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	*n++
}

// SetBehavior sets what happens to TCP connections to the service from now on:
// Silent, CloseAtOnce, ResetAtOnce and Unreachable do what they do at an instance;
// the others are like Healthy.
func (d *SQLData) SetBehavior(b Behavior) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.behavior = b
}

// CutConnections ends all TCP connections, with a reset or in an orderly way
// (FIN, without GOAWAY or a TLS close_notify), and returns how many there were.
// The service keeps running.
func (d *SQLData) CutConnections(withReset bool) int {
	all := d.all()
	for _, c := range all {
		c.Cut(withReset)
	}
	return len(all)
}

// BlackHole swallows everything that is sent either way on the existing TCP
// connections, without closing or resetting them, until they are cut. It returns how
// many there were. New ones work, unless SetBehavior says otherwise.
func (d *SQLData) BlackHole() int {
	all := d.all()
	for _, c := range all {
		d.count(&d.counts.BlackHoled)
		c.Swallow()
	}
	return len(all)
}

// GoAway tells clients to use new TCP connections, by a GOAWAY on all existing ones,
// as Google's front end does after an hour, and cuts those that are still open after
// the grace period. It returns at once, with how many there were.
func (d *SQLData) GoAway(grace time.Duration) int {
	all := d.all()
	for _, c := range all {
		c.GoAway(grace)
	}
	return len(all)
}

// all returns the connections that have not been cut: one that has may take a
// moment to end.
func (d *SQLData) all() []*sqlDataConn {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.DeleteFunc(slices.Collect(maps.Keys(d.conns)), func(c *sqlDataConn) bool { return c.WasCut() })
}

// Close stops the service, cuts its connections, and waits until everything has
// ended. ServeSQLData can start another one after that.
func (d *SQLData) Close() {
	d.mu.Lock()
	if !d.closed {
		close(d.closing)
	}
	d.closed = true
	d.mu.Unlock()
	_ = d.listener.Close()
	d.CutConnections(false)
	d.wg.Wait()
}

// served returns the service, or nil if there never was one.
func (s *Server) served() *SQLData {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sqlData
}

func (d *SQLData) isClosed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.closed
}

// blame lists the streams that have not ended.
func (d *SQLData) blame() (list []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for c := range d.conns {
		list = append(list, fmt.Sprintf("SQL Data: connection from %v", c.RemoteAddr()))
	}
	return list
}

// handle serves one connection.
func (d *SQLData) handle(raw net.Conn) {
	defer raw.Close()
	c := newSQLDataConn(d, raw)
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return
	}
	behavior := d.behavior
	d.conns[c] = true
	d.counts.Accepted++
	switch behavior {
	case Silent, Unreachable:
		d.counts.Silent++
	case CloseAtOnce, ResetAtOnce:
		d.counts.Dropped++
	}
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.conns, c)
	}()
	switch behavior {
	case Silent, Unreachable:
		_, _ = io.Copy(io.Discard, raw)
	case CloseAtOnce:
	case ResetAtOnce:
		sockets.Reset(raw)
	default:
		c.serve()
	}
}

// googleHost is where Google has the service.
const googleHost = "sqladmin.googleapis.com"

// isAt reports whether an address that is dialled is the service's.
func (d *SQLData) isAt(addr string) bool {
	_, port, _ := net.SplitHostPort(d.Addr().String())
	return addr == d.Addr().String() || addr == net.JoinHostPort("localhost", port) || strings.EqualFold(addr, googleHost+":443")
}

// dial is how the emulated network reaches the service.
func (d *SQLData) dial(ctx context.Context, network, addr string) (c net.Conn, err error) {
	d.mu.Lock()
	swallow := d.behavior == Unreachable && !d.closed
	if swallow {
		d.counts.Swallowed++
	}
	d.mu.Unlock()
	if swallow {
		return d.server.noAnswer(ctx, network, addr)
	}
	c, err = sockets.Dial(ctx, d.listener, network, addr)
	if errors.Is(err, syscall.ECONNREFUSED) {
		d.count(&d.counts.Refused)
	}
	return c, err
}
