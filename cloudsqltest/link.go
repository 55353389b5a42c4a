package cloudsqltest

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/internal/certs"
	"github.com/cloudsqlconn/cloudsqlconn/internal/mdx"
)

// Conn is a connection as a Handler sees it: decrypted, from a client that has
// presented a good certificate.
type Conn struct {
	*tls.Conn
	token    string
	exchange *mdx.Server // nil if the instance does not know the metadata exchange
	login    *loginCheck // nil if the login is not checked
}

// Token returns the login token in the client's certificate, or "".
func (c *Conn) Token() string { return c.token }

// link is a connection that the instance has accepted.
type link struct {
	raw    net.Conn
	ctx    context.Context // ends when the connection is cut
	cancel context.CancelFunc
	doing  string  // for people; guarded by Proxy.mu
	open   bool    // neither cut nor ending by itself; guarded by Proxy.mu
	stream *stream // if it came through SQL Data
}

func newLink(raw net.Conn, doing string) *link {
	l := &link{raw: raw, doing: doing, open: true}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// serve accepts connections until Stop.
func (p *Proxy) serve() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.serveLocked()
}

func (p *Proxy) serveLocked() {
	for _, l := range p.run.listeners {
		p.acceptLocked(l)
	}
}

func (p *Proxy) acceptLocked(l net.Listener) {
	r := p.run
	r.wg.Go(func() {
		for {
			raw, err := l.Accept()
			switch {
			case err == nil:
				r.wg.Go(func() { p.handle(r, raw) })
			case errors.Is(err, net.ErrClosed):
				return
			default: // out of file descriptors, for example
				time.Sleep(50 * time.Millisecond)
			}
		}
	})
}

// handle serves one connection.
func (p *Proxy) handle(r *run, raw net.Conn) {
	defer raw.Close()
	l, behavior, config := p.register(r, raw)
	if l == nil {
		return // Stop has already cut all connections
	}
	defer p.forget(l)
	behavior = p.consult(l, behavior)
	switch behavior {
	case Silent, Unreachable:
		p.count(&p.counts.Silent)
		_, _ = io.Copy(io.Discard, raw)
	case CloseAtOnce:
		p.count(&p.counts.Dropped)
		p.linger(l)
	case ResetAtOnce:
		p.count(&p.counts.Dropped)
		reset(raw)
	case StallHandshake:
		p.handshake(l, config, func() { p.count(&p.counts.Stalled) })
		p.linger(l)
	default:
		if c := p.handshake(l, config, nil); c != nil {
			p.attend(l, c)
		} else if behavior != CloseAfterRefusal {
			p.linger(l)
		}
	}
}

func (p *Proxy) register(r *run, raw net.Conn) (*link, Behavior, *tls.Config) {
	l := newLink(raw, "TLS handshake")
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.stopped {
		l.cancel()
		return nil, Healthy, nil
	}
	p.links[l] = true
	p.counts.Accepted++
	behavior, config := p.admitLocked()
	return l, behavior, config
}

func (p *Proxy) forget(l *link) {
	l.cancel()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

// now says what the connection is doing.
func (p *Proxy) now(l *link, doing string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l.doing = doing
}

// handshake returns nil if it fails, or if it is to be stalled.
func (p *Proxy) handshake(l *link, config *tls.Config, stall func()) *Conn {
	held := &heldConn{Conn: l.raw, stall: stall}
	tc := tls.Server(held, config)
	if err := tc.Handshake(); err != nil {
		if stall == nil && l.ctx.Err() == nil {
			p.count(p.failure(err))
			p.logInfo("handshake failed", "client", l.raw.RemoteAddr(), "error", err)
		}
		_ = held.release()
		return nil
	}
	state := tc.ConnectionState()
	p.mu.Lock()
	p.counts.Handshakes++
	if state.DidResume {
		p.counts.Resumed++
	}
	p.mu.Unlock()
	if held.release() != nil {
		return nil
	}
	return &Conn{Conn: tc, token: certs.LoginToken(state.PeerCertificates[0])}
}

// failure is where a failed handshake is counted.
func (p *Proxy) failure(err error) *int {
	var untrusted *tls.CertificateVerificationError
	var op *net.OpError
	switch {
	case errors.As(err, &untrusted):
		return &p.counts.Rejected
	case errors.As(err, &op) && op.Op == "remote error":
		return &p.counts.Distrusted
	}
	return &p.counts.Failed
}

// attend leads the client to the database, and ends the connection after that.
func (p *Proxy) attend(l *link, c *Conn) {
	defer func() {
		_ = c.CloseWrite()
		p.linger(l)
	}()
	p.logInfo("connection", "client", l.raw.RemoteAddr(), "iam", c.token != "", "resumed", c.ConnectionState().DidResume)
	defer p.log(slog.LevelDebug, "connection ended", []any{"client", l.raw.RemoteAddr()})
	p.now(l, "metadata exchange")
	if !p.exchangeMetadata(c) {
		return
	}
	c.login = p.checkLogin(l, c.token, unchecked{c}, c.Conn)
	p.lead(l, c, c.token != "")
}

// lead is the database's part of a connection. It reports whether there is a
// database.
func (p *Proxy) lead(l *link, c net.Conn, iam bool) bool {
	backend := p.cfg.Backend
	if iam && p.cfg.IAMBackend != "" {
		backend = p.cfg.IAMBackend
	}
	if backend == "" {
		p.now(l, "Handler has not returned")
		p.answer(c)
		return true
	}
	p.now(l, "forwarding to "+backend)
	err := p.forward(l.ctx, c, backend)
	if _, long := errors.AsType[*sizeError](err); long {
		p.complain(l, "login refused", err)
		return true
	}
	if err == nil || l.ctx.Err() != nil {
		return true
	}
	p.count(&p.counts.Unserved)
	p.complain(l, "backend unreachable", err)
	return false
}

// answer is the database of an instance without a backend.
func (p *Proxy) answer(c net.Conn) {
	if p.cfg.Handler != nil {
		p.cfg.Handler(c)
		return
	}
	p.echoes.Do(func() {
		const about = "this instance has neither Backend nor Handler: clients get back what they send; set Handler to Echo if that is meant"
		if p.server.Logger == nil {
			log.Printf("cloudsqltest: %s: %s", p.name, about)
		}
		p.log(slog.LevelWarn, about, nil)
	})
	Echo(c)
}

// complain tells of what nobody may have wanted, even where nobody listens.
func (p *Proxy) complain(l *link, what string, err error) {
	if p.server.Logger == nil {
		log.Printf("cloudsqltest: %s: %s: %v", p.name, what, err)
	}
	p.logInfo(what, "client", l.raw.RemoteAddr(), "error", err)
}

// lingerTime is how long a client may take to read the last that it is told.
const lingerTime = time.Second

// linger ends a connection so that what was written last arrives: closing a
// socket that has unread data resets it.
func (p *Proxy) linger(l *link) {
	p.mu.Lock()
	l.open, l.doing = false, "closing"
	p.mu.Unlock()
	closeWrite(l.raw)
	_ = l.raw.SetReadDeadline(time.Now().Add(lingerTime))
	_, _ = io.Copy(io.Discard, l.raw)
}

// heldConn holds back what the server writes in a handshake until it reads
// again, so that the last of it can wait until the outcome has been counted.
type heldConn struct {
	net.Conn
	held     []byte
	released bool
	stall    func() // if not nil, only the beginning of an answer goes out
}

func (c *heldConn) Write(b []byte) (int, error) {
	if c.released {
		return c.Conn.Write(b)
	}
	c.held = append(c.held, b...)
	return len(b), nil
}

func (c *heldConn) Read(b []byte) (int, error) {
	if err := c.flush(); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

func (c *heldConn) flush() error {
	if len(c.held) == 0 {
		return nil
	}
	b := c.held
	c.held = nil
	if c.stall == nil {
		_, err := c.Conn.Write(b)
		return err
	}
	c.stall()
	_, _ = c.Conn.Write(b[:min(len(b), 5)])
	_, err := io.Copy(io.Discard, c.Conn) // until the client gives up, or Stop
	return errors.Join(io.ErrClosedPipe, err)
}

// release holds nothing back from now on.
func (c *heldConn) release() error {
	err := c.flush()
	c.released = true
	return err
}
