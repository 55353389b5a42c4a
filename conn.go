package cloudsqlconn

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/mdx"
	"github.com/cloudsqlconn/cloudsqlconn/internal/tlsconn"
)

// conn is the connection that Dial returns.
type conn struct {
	tls       *tlsconn.Conn
	connector *connector
	info      *admin.Info   // what it was made with
	exchange  *mdx.Exchange // of metadata; nil: none

	heard   atomic.Bool // the first Read is over
	closed  atomic.Bool
	onClose func()                // nil: nothing
	reason  atomic.Pointer[error] // why the Dialer has cut it; nil: it has not
}

// socketConn is a conn over a socket. A type of its own, since drivers take a
// SyscallConn that fails for a dead connection.
type socketConn struct{ *conn }

// SyscallConn gives access to the socket, for drivers that look whether an idle
// connection is still alive: its Read fails if the server has sent data or has
// ended the connection, and what only concerns TLS is not taken for that.
func (c socketConn) SyscallConn() (syscall.RawConn, error) { return c.tls.SyscallConn() }

func newConn(tc *tlsconn.Conn, c *connector, info *admin.Info, n Name, dc *dialConfig) net.Conn {
	c.open.Add(1)
	conn := &conn{tls: tc, connector: c, info: info}
	if dc.exchange && info.MetadataExchange && strings.HasPrefix(info.DatabaseVersion, "MYSQL") {
		conn.exchange = mdx.New(mdx.Request{UserAgent: c.userAgent, ClientProtocolType: dc.protocol})
	}
	if n.domain != "" {
		conn.onClose = c.failover.opened(conn, n)
	}
	if tc.HasSocket() {
		return &socketConn{conn}
	}
	return conn
}

// Read reads from the server. Its first error can be that the server refuses
// the client certificate.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.read(b)
	c.connector.read.Add(int64(n))
	err = c.explain(err)
	if c.heard.Load() {
		return n, err
	}
	switch {
	case n > 0:
		c.connector.accepted(c.info)
	case err == nil, errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, net.ErrClosed), c.closed.Load():
		return n, err
	default:
		err = c.connector.rejected(c.info, err)
	}
	c.heard.Store(true)
	return n, err
}

func (c *conn) read(b []byte) (int, error) {
	if c.exchange != nil {
		return c.exchange.Read(c.tls, b)
	}
	return c.tls.Read(b)
}

func (c *conn) write(b []byte) (int, error) {
	if c.exchange != nil {
		return c.exchange.Write(c.tls, b)
	}
	return c.tls.Write(b)
}

// Write writes to the server.
func (c *conn) Write(b []byte) (int, error) {
	n, err := c.write(b)
	c.connector.written.Add(int64(n))
	return n, c.explain(err)
}

// Close closes the connection. After the first call it returns net.ErrClosed.
func (c *conn) Close() error {
	if c.closed.Swap(true) {
		return net.ErrClosed
	}
	c.connector.open.Add(-1)
	if c.onClose != nil {
		c.onClose()
	}
	return c.tls.Close()
}

// cut ends the connection, and gives its owner a reason. It reports whether it
// has not been cut before. It waits for nothing: the Close of a connection of
// [WithDialFunc] can take its time.
func (c *conn) cut(reason error) bool {
	first := c.reason.CompareAndSwap(nil, &reason)
	if first {
		go func() { _ = c.tls.NetConn().Close() }() // closing TLS would wait for a dead server
	}
	return first
}

// explain returns err, or why the Dialer has cut the connection.
func (c *conn) explain(err error) error {
	if err == nil || c.closed.Load() {
		return err
	}
	if reason := c.reason.Load(); reason != nil {
		return &Error{Op: opResolve, Instance: c.connector.String(), Err: *reason}
	}
	return err
}

// MetadataExchange reports whether the server is told that the client's
// protocol type is TLS. MySQL holds such a connection for secure, so that
// driver/mysql must send passwords as over MySQL's own TLS.
func (c *conn) MetadataExchange() bool { return c.exchange != nil }

// EngineVersion returns the instance's database engine and version, as
// [Dialer.EngineVersion] does. Driver packages look at it before they send
// anything.
func (c *conn) EngineVersion() string { return c.info.DatabaseVersion }

// CloseWrite tells the server that nothing more will be written.
func (c *conn) CloseWrite() error { return c.tls.CloseWrite() }

// ConnectionState tells what the handshake negotiated.
func (c *conn) ConnectionState() tls.ConnectionState { return c.tls.ConnectionState() }

// NetConn returns the connection under TLS. Reading from it or writing to it
// breaks the session.
func (c *conn) NetConn() net.Conn { return c.tls.NetConn() }

func (c *conn) LocalAddr() net.Addr                { return c.tls.LocalAddr() }
func (c *conn) RemoteAddr() net.Addr               { return c.tls.RemoteAddr() }
func (c *conn) SetDeadline(t time.Time) error      { return c.tls.SetDeadline(t) }
func (c *conn) SetReadDeadline(t time.Time) error  { return c.tls.SetReadDeadline(t) }
func (c *conn) SetWriteDeadline(t time.Time) error { return c.tls.SetWriteDeadline(t) }
