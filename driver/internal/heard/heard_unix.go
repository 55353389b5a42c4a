//go:build unix

package heard

import (
	"errors"
	"net"
	"syscall"

	"github.com/cloudsqlconn/cloudsqlconn/internal/tlsconn"
)

// Look looks whether there is something to read from c, which a Dialer has
// returned. It does not wait.
func Look(c net.Conn) State {
	socket, ok := c.(syscall.Conn)
	if !ok {
		return Unknown
	}
	raw, err := socket.SyscallConn()
	switch {
	case errors.Is(err, errors.ErrUnsupported): // one around it has a socket, and it has none
		return Unknown
	case err != nil:
		return Something
	}
	for range looks {
		quiet := false
		err = raw.Read(func(fd uintptr) bool {
			_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK)
			quiet = err == syscall.EAGAIN
			return true
		})
		switch {
		case errors.Is(err, tlsconn.ErrBusy):
			return Busy
		case err != nil:
			return Something
		case quiet:
			return Quiet
		}
		// It has come since Read has looked, and may be a session ticket, which is
		// nothing: Read can tell.
	}
	return Something
}

// looks is how often a socket is looked at that has something new each time.
const looks = 10
