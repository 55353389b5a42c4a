// Package sockets does to connections and listeners, of the kernel or of
// memnet, what their common interfaces have no methods for. It knows nothing of
// what is said on them.
package sockets

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/test/memnet"
)

// Accept calls handle, which must not block, with each connection, until l is
// closed.
func Accept(l net.Listener, handle func(net.Conn)) {
	for {
		c, err := l.Accept()
		switch {
		case err == nil:
			handle(c)
		case errors.Is(err, net.ErrClosed):
			return
		default: // out of file descriptors, for example
			time.Sleep(50 * time.Millisecond)
		}
	}
}

// Dial connects to l. In memory, addr is what the client sees as the address of
// the server.
func Dial(ctx context.Context, l net.Listener, network, addr string) (net.Conn, error) {
	if l, ok := l.(*memnet.Listener); ok {
		return l.DialContext(ctx, network, addr)
	}
	return new(net.Dialer).DialContext(ctx, l.Addr().Network(), l.Addr().String())
}

// Reset closes c so that the other side sees a reset and not an end.
func Reset(c net.Conn) {
	switch c := c.(type) {
	case interface{ Reset() }:
		c.Reset()
	case *net.TCPConn:
		_ = c.SetLinger(0)
		_ = c.Close()
	default:
		_ = c.Close()
	}
}

// CloseWrite ends one direction of a connection, where that can be done, and both
// elsewhere.
func CloseWrite(c net.Conn) {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
		return
	}
	_ = c.Close()
}

// CloseOrderly closes c so that the other side sees an end and not a reset, which
// unread data would make of it.
func CloseOrderly(c net.Conn) {
	CloseWrite(c)
	_ = c.Close()
}

// Forward copies until src ends, and passes the end on. After an error neither
// direction has a future.
func Forward(dst, src net.Conn) {
	if _, err := io.Copy(dst, src); err != nil {
		_ = dst.Close()
		_ = src.Close()
		return
	}
	CloseWrite(dst)
}
