//go:build !unix

package tlsconn

import (
	"net"
	"syscall"
)

// socket cannot be checked here.
type socket struct {
	net.Conn
	raw      syscall.RawConn
	checking bool
}

func newSocket(net.Conn) *socket { return nil }
