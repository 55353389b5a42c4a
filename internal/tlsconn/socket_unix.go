//go:build unix

package tlsconn

import (
	"io"
	"net"
	"os"
	"sync"
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

// attempt is a read of a socket that does not wait.
type attempt struct {
	call func(fd uintptr) bool // read: made once, since it would be allocated
	b    []byte
	n    int
	err  error
}

var attempts = sync.Pool{New: func() any {
	a := new(attempt)
	a.call = a.read
	return a
}}

func (a *attempt) read(fd uintptr) bool {
	for {
		a.n, a.err = syscall.Read(int(fd), a.b)
		if a.err != syscall.EINTR {
			return true
		}
	}
}

// tryRead is a Read that returns errQuiet instead of waiting. That is not to be
// told apart from a deadline, or from Close: another Read finds out.
func (t *transport) tryRead(b []byte) (int, error) {
	a := attempts.Get().(*attempt)
	a.b, a.err = b, syscall.EAGAIN
	_ = t.raw.Read(a.call)
	n, err := a.n, a.err
	a.b, a.n = nil, 0
	attempts.Put(a)
	switch {
	case err == syscall.EAGAIN:
		return 0, errQuiet
	case err != nil: // a socket tells it only once
		return 0, &net.OpError{Op: "read", Net: t.LocalAddr().Network(), Source: t.LocalAddr(), Addr: t.RemoteAddr(), Err: os.NewSyscallError("read", err)}
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}
