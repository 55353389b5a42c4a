//go:build unix

package tlsconn

import (
	"net"
	"os"
	"syscall"
)

// socket is a socket that does not wait while it is being checked.
type socket struct {
	net.Conn
	raw      syscall.RawConn
	checking bool // guarded by Conn.readMu
}

func newSocket(c net.Conn) *socket {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	return &socket{Conn: c, raw: raw}
}

func (s *socket) Read(b []byte) (int, error) {
	if s.checking {
		if err := s.look(); err != nil {
			return 0, err
		}
	}
	return s.Conn.Read(b)
}

// look returns errQuiet if a Read would have to wait.
func (s *socket) look() error {
	var peekErr error
	err := s.raw.Read(func(fd uintptr) bool {
		var b [1]byte
		for {
			_, _, peekErr = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
			if peekErr != syscall.EINTR {
				return true
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
