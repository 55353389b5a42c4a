package mdx

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// Exchange is the client's side of the exchange on one connection. Its methods
// take the place of the connection's Read and Write; once the exchange is over
// each costs one atomic load more. Reads and Writes may go on at the same time.
//
// Nothing is sent by itself: the request goes in front of the first byte that
// is written, in one Write with it. An answer is looked for in front of the
// first byte that is read, if the request has gone out by then; a server that
// talks first does not answer.
type Exchange struct {
	writes atomic.Uint32         // waiting, over or failed
	reads  atomic.Bool           // over
	asking atomic.Bool           // the request is going out, or has gone
	fault  atomic.Pointer[fault] // why the connection cannot be used

	writeMu sync.Mutex
	request []byte // what has to go out of it; guarded by writeMu

	readMu sync.Mutex
	looked bool   // whether there was an answer is known; guarded by readMu
	held   []byte // read, and not returned yet; guarded by readMu
}

// The values of Exchange.writes.
const (
	waiting uint32 = iota
	over
	failed
)

type fault struct{ err error }

// New returns an Exchange that sends r.
func New(r Request) *Exchange { return &Exchange{request: r.Append(nil)} }

// oneRecord is how much of the first Write goes out together with the request:
// what a TLS record holds, nearly.
const oneRecord = 15 << 10

// Write writes b to w, the request in front of the first byte. It returns how
// many bytes of b were written. After an error it can be called again if w can:
// nothing is sent twice.
func (x *Exchange) Write(w io.Writer, b []byte) (int, error) {
	switch x.writes.Load() {
	case over:
		return w.Write(b)
	case failed:
		return 0, x.fault.Load().err
	}
	if len(b) == 0 {
		return w.Write(b)
	}
	n, err := x.writeFirst(w, b[:min(len(b), oneRecord)])
	if err != nil || n == len(b) {
		return n, err
	}
	more, err := w.Write(b[n:])
	return n + more, err
}

func (x *Exchange) writeFirst(w io.Writer, b []byte) (int, error) {
	x.writeMu.Lock()
	defer x.writeMu.Unlock()
	size := len(x.request)
	if size == 0 { // somebody else was first
		return w.Write(b)
	}
	x.asking.Store(true)
	n, err := w.Write(append(x.request[:size:size], b...))
	if n < size {
		x.request = x.request[n:]
		return 0, err
	}
	x.request = nil
	x.writes.CompareAndSwap(waiting, over)
	return n - size, err
}

// Read reads from r what comes after the server's answer. A refusal is an
// [*Error]; after that, and after an answer that is malformed or cut short,
// Read and Write always fail. After a timeout Read goes on where it was.
func (x *Exchange) Read(r io.Reader, b []byte) (int, error) {
	if x.reads.Load() {
		return r.Read(b)
	}
	x.readMu.Lock()
	defer x.readMu.Unlock()
	for !x.looked {
		if f := x.fault.Load(); f != nil {
			return 0, f.err
		}
		n, err := r.Read(b)
		if n == 0 && err == nil {
			return 0, nil
		}
		x.held = append(x.held, b[:n]...)
		if fault := x.look(err); fault != nil {
			return 0, x.fail(fault)
		}
		if err != nil && (len(x.held) == 0 || isTimeout(err)) {
			return 0, err
		}
	}
	if len(x.held) == 0 { // there was an answer, and nothing behind it yet
		x.reads.Store(true)
		return r.Read(b)
	}
	n := copy(b, x.held)
	if x.held = x.held[n:]; len(x.held) == 0 {
		x.held = nil
		x.reads.Store(true)
	}
	return n, nil
}

// look looks whether held begins with an answer, takes it away, and returns
// what is wrong with it. err is that of the Read before. The caller holds
// readMu.
func (x *Exchange) look(err error) error {
	if len(x.held) == 0 {
		return nil
	}
	body, rest, cutErr := cut(x.held)
	switch {
	case cutErr == errNone || !x.asking.Load():
		x.looked = true
		return nil
	case cutErr == errMore && (err == nil || isTimeout(err)):
		return nil
	case cutErr == errMore && len(x.held) < len(signature):
		x.looked = true // it has ended, and was no answer; r says so again
		return nil
	case cutErr == errMore && err == io.EOF:
		return fmt.Errorf("%w: %w", errMalformed, io.ErrUnexpectedEOF)
	case cutErr == errMore:
		return err
	case cutErr != nil:
		return cutErr
	}
	x.looked, x.held = true, rest
	response, err := parseResponse(body)
	if err == nil && response.Status == Refused {
		err = &Error{clean(response.Message)}
	}
	return err
}

// fail makes the connection unusable.
func (x *Exchange) fail(err error) error {
	x.looked, x.held = false, nil
	x.fault.Store(&fault{err})
	x.writes.Store(failed)
	return err
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}
