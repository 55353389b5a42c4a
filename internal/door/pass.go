package door

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	// sip is what is read while nothing flows: an idle connection holds that
	// much memory in each direction.
	sip = 512

	// gulp is what is read while bytes flow: two records of TLS.
	gulp = 32 << 10

	// lull is how long nothing may come before a buffer goes to others.
	lull = 100 * time.Millisecond
)

var buffers = sync.Pool{New: func() any { return new([gulp]byte) }}

// pass writes to to what from sends, until it ends or one of them fails. It
// returns how many bytes that were.
func pass(to io.Writer, from net.Conn) (n int64, err error) {
	if _, ok := from.(syscall.Conn); !ok {
		return io.Copy(to, from) // a deadline may be the end of it
	}
	var small [sip]byte
	for {
		moved, err := move(to, from, small[:])
		n += int64(moved)
		if err == nil && moved == sip {
			var more int64
			more, err = stream(to, from)
			n += more
		}
		switch {
		case err == io.EOF:
			return n, nil
		case err != nil:
			return n, err
		}
	}
}

// stream is pass while bytes flow. It returns nil when they do not any more.
func stream(to io.Writer, from net.Conn) (n int64, err error) {
	buf := buffers.Get().(*[gulp]byte)
	defer buffers.Put(buf)
	for {
		if err := from.SetReadDeadline(time.Now().Add(lull)); err != nil {
			return n, err
		}
		moved, err := move(to, from, buf[:])
		n += int64(moved)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return n, from.SetReadDeadline(time.Time{})
		case err != nil:
			return n, err
		}
	}
}

// move reads once, and writes what has come: of an end, nothing.
func move(to io.Writer, from io.Reader, buf []byte) (n int, err error) {
	n, err = from.Read(buf)
	if n == 0 {
		return 0, err
	}
	n, failed := to.Write(buf[:n])
	if failed != nil {
		err = failed
	}
	return n, err
}
