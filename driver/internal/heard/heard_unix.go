//go:build unix

// Package heard looks whether a connection that should be idle has something to
// say. That is mostly its end.
package heard

import (
	"net"
	"syscall"
)

// Anything reports whether there is something to read from c, if only its end.
// It does not wait. It does not know of connections without a socket.
func Anything(c net.Conn) bool {
	socket, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return true
	}
	quiet := false
	err = raw.Read(func(fd uintptr) bool {
		_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK)
		quiet = err == syscall.EAGAIN
		return true
	})
	return err != nil || !quiet
}
