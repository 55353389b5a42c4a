package mysqlmemory

import (
	"net"
	"sync"
)

// listener accepts what it is handed.
type listener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once // for closed
}

func newListener() *listener {
	return &listener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

// hand reports whether the connection was accepted.
func (l *listener) hand(c net.Conn) bool {
	select {
	case l.conns <- c:
		return true
	case <-l.closed:
		return false
	}
}

// Accept waits for hand, or Close.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept.
func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr is nobody's.
func (l *listener) Addr() net.Addr { return &net.UnixAddr{Name: "mysqlmemory", Net: "unix"} }

// conn is a connection that says when the server is done with it.
type conn struct {
	net.Conn
	login *login // nil: everybody is let in
	ended chan struct{}
	once  sync.Once // for ended
}

// Close is the last that the server does.
func (c *conn) Close() error {
	defer c.once.Do(func() { close(c.ended) })
	return c.Conn.Close()
}

// RemoteAddr is an address that knows the login.
func (c *conn) RemoteAddr() net.Addr { return addr{c.Conn.RemoteAddr(), c.login} }

type addr struct {
	net.Addr
	login *login
}
