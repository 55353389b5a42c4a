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
	// sip is what is read as long as it is enough.
	sip = 2 << 10

	// gulp is what is read after that: four records of TLS.
	gulp = 64 << 10

	// lull is how long nothing comes before a connection is idle. It may be half
	// of that.
	lull = 100 * time.Millisecond
)

var (
	sips  = sync.Pool{New: func() any { return new([sip]byte) }}
	gulps = sync.Pool{New: func() any { return new([gulp]byte) }}
)

// way is one direction of a connection. While bytes flow, a goroutine has a
// buffer for them. While it is idle, one waits that has neither a buffer nor more
// than the least of a stack: under TLS, a Read that waits has three times as much.
type way struct {
	to, from net.Conn
	ended    func(error) // told of the end, nil, or of a failure of either side
	socket   syscall.RawConn
	passed   int64 // bytes
}

// start passes on what from sends.
func (w *way) start() {
	if w.socket = socketOf(w.from); w.socket != nil {
		w.flow()
		return
	}
	var err error
	w.passed, err = io.Copy(w.to, w.from) // a deadline may be the end of it
	w.ended(err)
}

// flow passes on what comes until nothing does for a while. It ends with a new
// goroutine, or with the way.
func (w *way) flow() {
	lulled, err := w.pass()
	switch {
	case lulled:
		go w.idle()
	case err == io.EOF:
		w.ended(nil)
	default:
		w.ended(err)
	}
}

// idle waits until there is something to read, be it the end. Whatever from has
// sent before is passed on: the last Read had nothing to return. It has a goroutine
// of its own, since the stack of another one would not shrink.
func (w *way) idle() {
	wait(w.socket)
	go w.flow()
}

// pass passes on what comes until a lull, the end or a failure.
func (w *way) pass() (lulled bool, err error) {
	first := sips.Get().(*[sip]byte)
	lulled, err = w.passWith(first[:])
	sips.Put(first)
	if !lulled && err == nil {
		buf := gulps.Get().(*[gulp]byte)
		lulled, err = w.passWith(buf[:])
		gulps.Put(buf)
	}
	if lulled {
		if err := w.from.SetReadDeadline(time.Time{}); err != nil {
			return false, err
		}
	}
	return lulled, err
}

// passWith is pass with a buffer. It returns, too, when a small one is not enough.
func (w *way) passWith(buf []byte) (lulled bool, err error) {
	var until time.Time
	for {
		if now := time.Now(); until.Sub(now) < lull/2 { // a new deadline costs more than the time
			until = now.Add(lull)
			if err := w.from.SetReadDeadline(until); err != nil {
				return false, err
			}
		}
		n, err := w.from.Read(buf)
		if n > 0 {
			written, failed := w.to.Write(buf[:n])
			w.passed += int64(written)
			if failed != nil {
				return false, failed
			}
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && !time.Now().Before(until): // otherwise it is from's own
			return true, nil
		case err != nil:
			return false, err
		case n == sip && len(buf) == sip:
			return false, nil
		}
	}
}
