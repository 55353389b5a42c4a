package cloudsqltest

import "net"

// StreamConn is a connection through SQL Data as a Handler sees it.
type StreamConn struct {
	net.Conn
	token string
	login *loginCheck // nil if the login is not checked
}

// Token returns the API token of the stream if its client has asked for IAM
// login, or "".
func (c *StreamConn) Token() string { return c.token }

// Read reads what the client sends.
func (c *StreamConn) Read(b []byte) (int, error) {
	if c.login == nil {
		return c.Conn.Read(b)
	}
	return c.login.read(b)
}

// Write writes to the client.
func (c *StreamConn) Write(b []byte) (int, error) {
	if c.login == nil {
		return c.Conn.Write(b)
	}
	return c.login.write(b)
}

// CloseWrite ends the direction to the client, and with it the stream, once
// everything has been sent.
func (c *StreamConn) CloseWrite() error {
	closeWrite(c.Conn)
	return nil
}

// Close closes the connection. After a refused login, the instance closes it
// instead.
func (c *StreamConn) Close() error {
	if c.login != nil && c.login.refused.Load() {
		return nil
	}
	return c.Conn.Close()
}

// attendStream leads a stream to the database, and ends its connection after
// that.
func (p *Proxy) attendStream(l *link, s *stream, token string) {
	defer p.forget(l)
	defer l.raw.Close()
	c := &StreamConn{Conn: l.raw, token: token}
	c.login = p.checkLogin(l, token, l.raw, l.raw)
	if !p.lead(l, c, token != "") {
		s.unserved.Store(true)
	}
}

// admitStream starts attendStream, and returns the link, or nil while the
// instance is stopped.
func (p *Proxy) admitStream(s *stream, raw net.Conn, token string) *link {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.run.stopped {
		p.counts.Refused++
		return nil
	}
	l := newLink(raw, "SQL Data")
	l.stream = s
	p.links[l] = true
	p.counts.Streams++
	p.run.wg.Go(func() { p.attendStream(l, s, token) })
	return l
}

// SetStreamFault sets what goes wrong with streams of SQL Data to the instance
// from now on, unless [Server].OnStream returns a fault. Existing streams stay as
// they are. Nil undoes it.
func (p *Proxy) SetStreamFault(f *StreamFault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.streamFault = f
}
