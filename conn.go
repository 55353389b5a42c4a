package cloudsqlconn

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/engine"
	"github.com/cloudsqlconn/cloudsqlconn/internal/failover"
	"github.com/cloudsqlconn/cloudsqlconn/internal/failure"
	"github.com/cloudsqlconn/cloudsqlconn/internal/known"
	"github.com/cloudsqlconn/cloudsqlconn/internal/mdx"
	"github.com/cloudsqlconn/cloudsqlconn/internal/reach"
	"github.com/cloudsqlconn/cloudsqlconn/internal/relogin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/tlsconn"
)

// conn is the connection that Dial returns.
type conn struct {
	tracked
	tls      *tlsconn.Conn
	info     *admin.Info // what it was made with
	at       *location
	exchange *mdx.Exchange // of metadata, if tells; nil: none

	login atomic.Pointer[relogin.Login] // that it was for; nil: none that is repeated

	heard atomic.Bool // the first Read is over
	ended atomic.Bool // CloseWrite was called
	tells bool        // the exchange is in use
}

// location is where a connection by an address leads. It is comparable, and does not
// change.
type location struct {
	dialled  string // the name that was passed to Dial
	instance Name
	domain   string // as in Resolution
	own      bool   // as in Resolution
	host     string // an address of the instance, or of a node of a read pool
}

// socketConn is a conn over a socket. A type of its own, since drivers take a
// SyscallConn that fails for a dead connection.
type socketConn struct{ *conn }

// SyscallConn gives access to the socket, for drivers that check whether an idle
// connection is still alive: its Read fails if the server has sent data or has
// ended the connection, and what only concerns TLS is not mistaken for that. During
// a Read or a Write of the connection it fails, since it cannot tell. None of
// its functions waits.
func (c socketConn) SyscallConn() (syscall.RawConn, error) { return c.tls.SyscallConn() }

func newConn(made known.Conn, c *connector, at *location, dc *dialConfig) net.Conn {
	conn := &conn{tls: made.TLS, info: made.Info, at: at}
	if dc.exchange != exchangeNever && made.Info.MetadataExchange && engine.Of(made.Info.DatabaseVersion) == engine.MySQL {
		conn.exchange = mdx.New(mdx.Request{UserAgent: c.dialer.cfg.userAgent, ClientProtocolType: dc.protocol})
		conn.tells = dc.exchange == exchangeAlways
	}
	conn.track(c, cutConn{conn}, at.domain)
	if made.TLS.HasSocket() {
		return socketConn{conn}
	}
	return conn
}

// Read reads from the server. Its first error can be that the server refuses
// the client certificate.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.read(b)
	c.connector.read.Add(int64(n))
	err = c.explain(err)
	switch {
	case c.heard.Load():
	case n > 0:
		c.connector.known.Accepted(c.info)
		c.heard.Store(true)
	case err == nil || c.ours(err):
	case errors.Is(err, io.EOF): // it proves nothing: PostgreSQL ends the connection of every cancel request like this
		c.heard.Store(true)
	default:
		err = c.unheard(err)
	}
	return n, err
}

// ours reports whether err comes from this side, and tells nothing about the
// server.
func (c *conn) ours(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) || c.closed.Load()
}

// unheard is told the error of the first Read, or what counts as that, and returns
// what the caller is to see. A refusal is the reason of all errors to come.
func (c *conn) unheard(err error) error {
	var (
		exchange *mdx.Error
		refused  *reach.RefusedError
	)
	if !errors.As(err, &exchange) {
		err = c.connector.known.Unheard(c.info, err)
	}
	if exchange != nil || errors.As(err, &refused) {
		err = c.connector.newError(OpHandshake, err)
		c.reason.CompareAndSwap(nil, &err)
	}
	c.heard.Store(true)
	return err
}

func (c *conn) read(b []byte) (int, error) {
	if c.tells {
		return c.exchange.Read(c.tls, b)
	}
	return c.tls.Read(b)
}

func (c *conn) write(b []byte) (int, error) {
	if c.tells {
		return c.exchange.Write(c.tls, b)
	}
	return c.tls.Write(b)
}

// Write writes to the server. Its error can be that the server refuses the
// client certificate, if nothing has been read before.
func (c *conn) Write(b []byte) (int, error) {
	n, err := c.write(b)
	c.connector.written.Add(int64(n))
	err = c.explain(err)
	if err != nil && !c.heard.Load() && !c.ended.Load() && !c.ours(err) {
		err = c.unwritten(err)
	}
	return n, err
}

// unwritten is told the error of a Write before anything was heard, and returns
// what the caller is to see: the server may have said why, and closed.
func (c *conn) unwritten(err error) error {
	said := c.tls.Said()
	switch {
	case errors.Is(said, tlsconn.ErrData), errors.Is(said, tlsconn.ErrBusy):
		return err // a Read finds what there is to know
	case failure.IsAlert(said):
		return c.unheard(said)
	}
	return c.unheard(fmt.Errorf("the server has ended the connection, and has not said why: %w", err))
}

// Close closes the connection, and ends Reads and Writes in progress. The server
// is told, unless a Write is in progress. Close waits for a server that does not
// read, and for one that has been written to and has said nothing yet, but no
// longer than 0.2 s. Later calls return net.ErrClosed.
func (c *conn) Close() error {
	if !c.untrack() {
		return net.ErrClosed
	}
	if l := c.login.Swap(nil); l != nil {
		l.Closed()
	}
	return c.tls.Close()
}

// cutConn is a conn that can be cut.
type cutConn struct{ *conn }

// Cut ends the connection, and gives its owner a reason. It reports whether it
// has not been cut before. It waits for nothing: the Close of a connection of
// [WithDialFunc] can take its time.
func (c cutConn) Cut(reason error) bool {
	first := c.spoil(reason)
	if first {
		go c.tls.Cut()
	}
	return first
}

// CloseWrite tells the server that nothing more will be written. It fails during
// a Write, and when the system takes no more data for 5 s.
func (c *conn) CloseWrite() error {
	c.ended.Store(true)
	return c.tls.CloseWrite()
}

// ConnectionState returns what the handshake negotiated.
func (c *conn) ConnectionState() tls.ConnectionState { return c.tls.ConnectionState() }

// NetConn returns the connection under TLS. Reading from it or writing to it
// breaks the session.
func (c *conn) NetConn() net.Conn { return c.tls.NetConn() }

func (c *conn) LocalAddr() net.Addr  { return c.tls.LocalAddr() }
func (c *conn) RemoteAddr() net.Addr { return c.tls.RemoteAddr() }

// SetDeadline sets the deadlines of Reads and Writes. The connection can still be
// used after a deadline has passed. Only if the connection below has no deadlines,
// like one through an SSH client, is a Read or Write that is waiting when its
// deadline passes ended by closing the connection; errors.Is(err,
// os.ErrDeadlineExceeded) holds then, too.
func (c *conn) SetDeadline(t time.Time) error { return c.tls.SetDeadline(t) }

// SetReadDeadline sets the deadline of Reads, as SetDeadline does.
func (c *conn) SetReadDeadline(t time.Time) error { return c.tls.SetReadDeadline(t) }

// SetWriteDeadline sets the deadline of Writes, as SetDeadline does.
func (c *conn) SetWriteDeadline(t time.Time) error { return c.tls.SetWriteDeadline(t) }

// tracked is what all connections have that Dial returns: they are counted, and
// cut when their DNS name leads to another instance.
type tracked struct {
	connector *connector
	closed    atomic.Bool
	opened    time.Duration         // since began
	onClose   func()                // nil: nothing
	reason    atomic.Pointer[error] // why it is of no use: the server has refused it, or the Dialer has cut it
}

// began is what connections count from: a time.Duration has 16 bytes less than a
// time.Time, and there are idle connections by the ten thousand.
var began = time.Now()

// track counts the connection c, which domain has led to if it is not "".
func (t *tracked) track(to *connector, c failover.Conn, domain string) {
	t.connector, t.opened = to, time.Since(began)
	to.open.Add(1)
	if domain != "" {
		t.onClose = to.dialer.failover.Opened(c, failover.Instance{Domain: domain, Name: to.String()})
	}
}

// untrack is told that the connection is closed. It reports false if it was
// before.
func (t *tracked) untrack() bool {
	if t.closed.Swap(true) {
		return false
	}
	t.connector.open.Add(-1)
	t.connector.seen.Closed(time.Since(began) - t.opened)
	if t.onClose != nil {
		t.onClose()
	}
	return true
}

// spoil gives the owner a reason why the connection is of no use any more. It
// reports false if there is one already.
func (t *tracked) spoil(reason error) bool {
	err := error(&Error{Op: OpResolve, Instance: t.connector.String(), Err: reason})
	return t.reason.CompareAndSwap(nil, &err)
}

// explain returns err, or why the connection is of no use.
func (t *tracked) explain(err error) error {
	if err == nil || t.closed.Load() {
		return err
	}
	if reason := t.reason.Load(); reason != nil {
		return *reason
	}
	return err
}
