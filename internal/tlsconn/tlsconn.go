// Package tlsconn is TLS for connections that lie idle in pools: drivers can ask
// whether one is still alive.
//
// Drivers ask the socket, before they use a connection again: is there
// something to read? Under TLS that is no answer. The server may have sent a
// session ticket or changed its key, which mean nothing; and who reads a byte to
// find out breaks the stream. A [Conn] answers for its socket.
package tlsconn

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
)

// Conn is the client's side of a TLS connection. Shake hands before using it.
type Conn struct {
	*tls.Conn
	socket *socket // nil if there is none

	readMu sync.Mutex
	peeked []byte  // what check has read, at most one byte; guarded by readMu
	one    [1]byte // peeked is in it
}

// Client is [tls.Client].
func Client(raw net.Conn, config *tls.Config) *Conn {
	if s := newSocket(raw); s != nil {
		return &Conn{Conn: tls.Client(s, config), socket: s}
	}
	return &Conn{Conn: tls.Client(raw, config)}
}

// NetConn returns what Client was given.
func (c *Conn) NetConn() net.Conn {
	if c.socket != nil {
		return c.socket.Conn
	}
	return c.Conn.NetConn()
}

// Read is that of [tls.Conn].
func (c *Conn) Read(b []byte) (int, error) {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	if len(c.peeked) > 0 {
		n := copy(b, c.peeked)
		c.peeked = c.peeked[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}

// HasSocket reports whether there is a socket that can be asked.
func (c *Conn) HasSocket() bool { return c.socket != nil }

// SyscallConn gives access to the socket. What it returns calls the function
// given to its Read only if the server has said nothing; otherwise that Read
// returns what the server has said: [ErrData], io.EOF for its end, or an error.
// Session tickets and new keys are nothing. Nothing is lost for a later Read of
// the connection, and what is asked while a Read waits waits for that.
func (c *Conn) SyscallConn() (syscall.RawConn, error) {
	if c.socket == nil {
		return nil, errors.ErrUnsupported
	}
	return rawConn{c.socket.raw, c}, nil
}

// ErrData means that the server has sent data.
var ErrData = errors.New("the server has sent data")

type rawConn struct {
	syscall.RawConn
	conn *Conn
}

func (r rawConn) Read(f func(fd uintptr) bool) error {
	if err := r.conn.check(); err != nil {
		return err
	}
	return r.RawConn.Read(f)
}

// check returns what the server has said, or nil. It does not wait.
func (c *Conn) check() error {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	if len(c.peeked) > 0 {
		return ErrData
	}
	c.socket.checking = true
	defer func() { c.socket.checking = false }()
	n, err := c.Conn.Read(c.one[:])
	switch {
	case n > 0:
		c.peeked = c.one[:n]
		return ErrData
	case err == errQuiet:
		return nil
	case err == nil:
		return io.ErrNoProgress
	}
	return err
}

// errQuiet means that there is nothing to read. It is temporary for crypto/tls,
// which keeps what it has read of a record.
var errQuiet error = quiet{}

type quiet struct{}

func (quiet) Error() string   { return "nothing to read" }
func (quiet) Timeout() bool   { return true }
func (quiet) Temporary() bool { return true }
