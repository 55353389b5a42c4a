package tlsconn

import (
	"errors"
	"io"
	"os"
	"syscall"
	"time"
)

// ErrData means that the server has sent data.
var ErrData = errors.New("the server has sent data")

// ErrBusy means that a Read or a Write is in progress, so that it cannot be told
// what the server has said: the one who reads is told, or a question to the
// server tells.
var ErrBusy error = notNow("a Read or a Write of the connection is in progress")

// errQuiet means that there is nothing to read.
var errQuiet error = notNow("nothing to read")

// notNow is temporary for crypto/tls, which keeps what it has read of a record.
type notNow string

func (e notNow) Error() string   { return string(e) }
func (e notNow) Timeout() bool   { return false }
func (e notNow) Temporary() bool { return true }

// HasSocket reports whether there is a socket that can be asked.
func (c *Conn) HasSocket() bool { return c.under.raw != nil }

// SyscallConn gives access to the socket. What it returns calls each function
// it is given once at most, whatever that returns, and never waits.
//
// Its Read calls the function only if the server has said nothing. Otherwise it
// returns what the server has said: [ErrData], io.EOF for its end, or an error.
// Session tickets and new keys are nothing. Nothing is lost for a later Read of
// the connection. During a Read or a Write it returns [ErrBusy].
func (c *Conn) SyscallConn() (syscall.RawConn, error) {
	if c.under.raw == nil {
		return nil, errors.ErrUnsupported
	}
	return rawConn{c.under.raw, c}, nil
}

type rawConn struct {
	syscall.RawConn // whose Read and Write wait for each other's like
	conn            *Conn
}

func (r rawConn) Read(f func(fd uintptr) bool) error {
	return r.conn.look(func() error { return r.Write(f) })
}

func (r rawConn) Write(f func(fd uintptr) bool) error {
	return r.Control(func(fd uintptr) { f(fd) })
}

// look returns what the server has said, or what quiet returns if that is
// nothing.
func (c *Conn) look(quiet func() error) error {
	if !c.tryLock() {
		return ErrBusy
	}
	defer c.unlock()
	if said := c.said(); said != nil {
		return said
	}
	n, err := c.readNow(c.one[:])
	c.peeked = n > 0
	switch {
	case n > 0:
		c.traffic.Store(heard)
		return ErrData
	case err == errQuiet:
		return quiet()
	case err == nil:
		return io.ErrNoProgress
	}
	return err
}

// tryRead is a Read that does not wait. Instead it returns errQuiet or ErrBusy.
func (c *Conn) tryRead(b []byte) (int, error) {
	if !c.tryLock() {
		return 0, ErrBusy
	}
	defer c.unlock()
	if n, known, err := c.takeKnown(b); known {
		return n, err
	}
	return c.readNow(b)
}

// readNow is tryRead for a caller that has the locks.
func (c *Conn) readNow(b []byte) (int, error) {
	c.under.looking.Store(true)
	defer c.under.looking.Store(false)
	n, err := c.Conn.Read(b)
	return n, c.hide(err)
}

func (c *Conn) tryLock() bool {
	if !c.readMu.TryLock() {
		return false
	}
	if !c.writeMu.TryLock() {
		c.readMu.Unlock()
		return false
	}
	return true
}

func (c *Conn) unlock() {
	c.writeMu.Unlock()
	c.readMu.Unlock()
}

// lastWords is how long Said waits where a socket cannot be asked.
const lastWords = 100 * time.Millisecond

// Said returns what the server has said, for one to whom a Write has failed:
// [ErrData], io.EOF for its end, an error such as its last alert, or nil if that
// is nothing. Nothing is lost for a later Read; during one it returns [ErrBusy].
// It waits 0.1 s at most, and not at all for a socket that can be asked.
func (c *Conn) Said() (said error) {
	if c.HasSocket() {
		return c.look(func() error { return nil })
	}
	if !c.readMu.TryLock() {
		return ErrBusy
	}
	defer c.readMu.Unlock()
	if said := c.said(); said != nil {
		return said
	}
	c.under.within(lastWords, func() {
		var n int
		n, said = c.Conn.Read(c.one[:])
		c.peeked = n > 0
		if n > 0 {
			said = ErrData
		}
	})
	if errors.Is(said, os.ErrDeadlineExceeded) {
		return nil
	}
	return c.hide(said)
}
