//go:build unix

package postgres

import (
	"net"
	"syscall"
)

// heard reports whether there is something to read from c, if only its end.
// It does not wait.
func heard(c net.Conn) bool {
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
