//go:build unix

package door

import (
	"crypto/tls"
	"net"
	"syscall"
)

// socketOf returns the socket at the bottom of c, or nil if there is none that
// can be waited for. Whoever is above it has to give access to it, too, or be
// crypto/tls: others may be of no use any more after a deadline, as many WebSockets
// are.
func socketOf(c net.Conn) syscall.RawConn {
	for {
		above, layered := c.(interface{ NetConn() net.Conn })
		if _, isTLS := c.(*tls.Conn); !isTLS {
			raw := rawOf(c)
			if raw == nil || !layered {
				return raw
			}
		}
		c = above.NetConn()
	}
}

// rawOf returns what c gives access to, or nil.
func rawOf(c net.Conn) syscall.RawConn {
	s, ok := c.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// wait returns when there is something to read, and with an error of the socket,
// which a Read finds, too.
func wait(socket syscall.RawConn) {
	asked := false
	_ = socket.Read(func(fd uintptr) bool {
		if asked {
			return true
		}
		asked = true
		return !empty(fd) // what came before is not waited for
	})
}

// empty reports whether there is nothing to read.
func empty(fd uintptr) bool {
	var b [1]byte
	for {
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		if err != syscall.EINTR {
			return err == syscall.EAGAIN
		}
	}
}
