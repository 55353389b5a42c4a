//go:build unix

package tlsconn

import (
	"net"
	"os"
	"syscall"
)

// rawSocket returns c's socket, or nil if there is none.
func rawSocket(c net.Conn) syscall.RawConn {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	if r, ok := raw.(rawConn); ok { // of a session around
		return r.RawConn
	}
	return raw
}

// look returns errQuiet if a Read would have to wait. It does not wait itself:
// that is why it does not use the socket's Read.
func (t *transport) look() error {
	var peekErr error
	err := t.raw.Control(func(fd uintptr) {
		var b [1]byte
		for {
			_, _, peekErr = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
			if peekErr != syscall.EINTR {
				return
			}
		}
	})
	switch {
	case err != nil:
		return err
	case peekErr == syscall.EAGAIN:
		return errQuiet
	}
	return os.NewSyscallError("recvfrom", peekErr) // a socket tells it only once
}
