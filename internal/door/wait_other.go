//go:build !unix

package door

import (
	"net"
	"syscall"
)

// socketOf returns nil: sockets cannot be waited for here.
func socketOf(net.Conn) syscall.RawConn { return nil }

func wait(syscall.RawConn) {}
