package cloudsqltest

import (
	"cmp"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/internal/sockets"
)

// link is a connection that the instance has accepted.
type link struct {
	raw    net.Conn
	ctx    context.Context // ends when the connection is cut
	cancel context.CancelFunc
	doing  string  // for people; guarded by EmulatedInstance.mu
	open   bool    // neither cut nor ending by itself; guarded by EmulatedInstance.mu
	stream *stream // if it came through SQL Data
}

func newLink(raw net.Conn, doing string) *link {
	l := &link{raw: raw, doing: doing, open: true}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// handle serves one connection.
func (p *EmulatedInstance) handle(r *run, raw net.Conn) {
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
		sockets.Reset(raw)
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

// consult asks OnConnect and the rules what happens to a connection to a
// healthy instance.
func (p *EmulatedInstance) consult(l *link, b Behavior) Behavior {
	var rule *ActiveRule
	if b == Healthy && p.server.OnConnect != nil {
		whole := cmp.Or(p.pool, p)
		b = p.server.OnConnect(whole)
	}
	if b == Healthy {
		if rule = p.server.ruleFor(p.key(), Connect); rule != nil {
			b = rule.behavior
		}
	}
	switch {
	case rule != nil:
		p.logInfo("connection", "client", l.raw.RemoteAddr(), "fault", rule.String())
	case b != Healthy:
		p.logInfo("connection", "client", l.raw.RemoteAddr(), "behavior", b.String())
	}
	return b
}

// attend leads the client to the database, and ends the connection after that.
func (p *EmulatedInstance) attend(l *link, c *Conn) {
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

func (p *EmulatedInstance) register(r *run, raw net.Conn) (*link, Behavior, *tls.Config) {
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

func (p *EmulatedInstance) forget(l *link) {
	l.cancel()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

// now says what the connection is doing.
func (p *EmulatedInstance) now(l *link, doing string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l.doing = doing
}

// lingerTime is how long a client may take to read the last that it is told.
const lingerTime = time.Second

// linger ends a connection so that what was written last arrives: closing a
// socket that has unread data resets it.
func (p *EmulatedInstance) linger(l *link) {
	p.mu.Lock()
	l.open, l.doing = false, "closing"
	p.mu.Unlock()
	sockets.CloseWrite(l.raw)
	_ = l.raw.SetReadDeadline(time.Now().Add(lingerTime))
	_, _ = io.Copy(io.Discard, l.raw)
}
