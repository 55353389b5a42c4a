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

// instantRead is a read of a socket that does not wait.
type instantRead struct {
	call func(fd uintptr) bool // read: made once, since it would be allocated
	b    []byte
	n    int
	err  error
}

var instantReads = sync.Pool{New: func() any {
	r := new(instantRead)
	r.call = r.read
	return r
}}

func (r *instantRead) read(fd uintptr) bool {
	for {
		r.n, r.err = syscall.Read(int(fd), r.b)
		if r.err != syscall.EINTR {
			return true
		}
	}
}

// tryRead is a Read that returns errQuiet instead of waiting. That is not to be
// told apart from a deadline, or from Close: another Read finds out.
func (t *transport) tryRead(b []byte) (int, error) {
	r := instantReads.Get().(*instantRead)
	r.b, r.err = b, syscall.EAGAIN
	_ = t.raw.Read(r.call)
	n, err := r.n, r.err
	r.b, r.n = nil, 0
	instantReads.Put(r)
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
