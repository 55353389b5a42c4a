package tlsconn

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/deadline"
)

// transport is what is under TLS: the connection that Client was given, with
// deadlines. It does not wait while it is looked at, and TLS does not notice a
// Write that has met its deadline.
type transport struct {
	net.Conn
	raw syscall.RawConn // of the socket at the bottom; nil if there is none

	looking atomic.Bool // set with Conn.readMu and Conn.writeMu held
	closing atomic.Bool

	ahead *batch     // what has been read ahead; nil: nothing; guarded by Conn.readMu
	held  []byte     // to be written before anything else; guarded by mu
	mu    sync.Mutex // held by Writes

	limits struct {
		sync.Mutex            // guards the rest, and ownRead; not held while anything waits
		read, write time.Time // what the user has set
	}

	// What is small stands together, since there are connections by the ten thousand.

	// Guarded by Conn.readMu.
	frame  frame
	trying bool // Reads do not wait
	large  bool // Reads are for much, so that it pays to read ahead
	shaken bool // the handshake is over

	// Guarded by mu.
	corked bool // what TLS writes is held, until uncork
	cut    bool // the last Write has met its deadline

	ownRead bool // the deadline of Reads is that of a look for now; guarded by limits
}

func (t *transport) init(raw net.Conn) {
	t.Conn = deadline.Of(raw)
	t.raw = rawSocket(raw)
}

// given is what Client was given.
func (t *transport) given() net.Conn {
	if limited, ok := t.Conn.(*deadline.Conn); ok {
		return limited.Conn
	}
	return t.Conn
}

// Read reads for TLS.
func (t *transport) Read(b []byte) (int, error) {
	if t.ahead != nil {
		return t.deliver(b), nil
	}
	if t.looking.Load() && t.raw != nil {
		if outer, ok := t.Conn.(*Conn); ok {
			return outer.tryRead(b)
		}
		if err := t.look(); err != nil {
			return 0, err
		}
	}
	if t.large {
		return t.readAhead(b)
	}
	if !t.shaken { // TLS keeps a buffer as large as what it gets at once
		b = b[:min(len(b), t.frame.next(nil))]
	}
	n, err := t.Conn.Read(b)
	t.frame.pass(b[:n])
	return n, err
}

// Write writes for TLS. What a look has TLS answer waits for the next Write:
// that is when it is due (RFC 8446, 4.6.3). So does what is left at a deadline.
func (t *transport) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.looking.Load() || t.corked {
		t.held = append(t.held, b...)
		return len(b), nil
	}
	if len(t.held) > 0 {
		t.held = append(t.held, b...)
		return len(b), t.sendHeldLocked()
	}
	n, err := t.Conn.Write(b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.cut = true
		t.held = append(t.held, b[n:]...)
		return len(b), nil
	}
	return n, err
}

// sendHeldLocked writes what is held. A deadline is no error.
func (t *transport) sendHeldLocked() error {
	n, err := t.Conn.Write(t.held)
	if t.held = t.held[n:]; len(t.held) == 0 {
		t.held = nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.cut = true
		return nil
	}
	return err
}

// flush writes what is held. It fails at a deadline.
func (t *transport) flush() error {
	t.limits.Lock()
	limit := t.limits.write
	t.limits.Unlock()
	if !limit.IsZero() && !time.Now().Before(limit) {
		return t.timeout()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cut = false
	if len(t.held) == 0 {
		return nil
	}
	if err := t.sendHeldLocked(); err != nil {
		return err
	}
	return t.lateLocked()
}

// late returns an error if a Write since flush has met its deadline.
func (t *transport) late() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lateLocked()
}

func (t *transport) lateLocked() error {
	if t.cut {
		return t.timeout()
	}
	return nil
}

func (t *transport) timeout() error {
	return &net.OpError{Op: "write", Net: t.LocalAddr().Network(), Source: t.LocalAddr(), Addr: t.RemoteAddr(), Err: os.ErrDeadlineExceeded}
}

// SetWriteDeadline is called by crypto/tls, which gives its last record 5 s.
func (t *transport) SetWriteDeadline(d time.Time) error {
	if latest := time.Now().Add(farewell); t.closing.Load() && d.After(latest) {
		d = latest
	}
	return t.Conn.SetWriteDeadline(d)
}

// Sets of directions.
const (
	reads = 1 << iota
	writes
	both = reads | writes
)

// setDeadlines sets the user's deadlines.
func (t *transport) setDeadlines(d time.Time, directions int) error {
	t.limits.Lock()
	defer t.limits.Unlock()
	var readErr, writeErr error
	if directions&reads != 0 {
		t.limits.read = d
		if !t.ownRead {
			readErr = t.SetReadDeadline(d)
		}
	}
	if directions&writes != 0 {
		t.limits.write = d
		writeErr = t.Conn.SetWriteDeadline(d)
	}
	if readErr != nil {
		return readErr
	}
	return writeErr
}

// within has f read for no longer than d, whatever deadline the user has set
// or sets meanwhile.
func (t *transport) within(d time.Duration, f func()) {
	own := func(on bool) {
		t.limits.Lock()
		defer t.limits.Unlock()
		limit := t.limits.read
		if t.ownRead = on; on {
			limit = time.Now().Add(d)
		}
		_ = t.SetReadDeadline(limit)
	}
	own(true)
	defer own(false)
	f()
}
