// Package deadline gives deadlines to connections that have none, such as those
// through an SSH client. It knows nothing of what they carry.
package deadline

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// Of returns c if deadlines can be set on it, and otherwise a [*Conn] over it.
// It leaves c without a deadline.
func Of(c net.Conn) net.Conn {
	switch c.(type) {
	case *net.TCPConn, *net.UnixConn:
		return c
	}
	if refuses(c.SetReadDeadline(time.Time{})) || refuses(c.SetWriteDeadline(time.Time{})) {
		return &Conn{Conn: c}
	}
	return c
}

// refuses reports whether that is the error of a connection that takes no
// deadline. One that is closed has no need of it.
func refuses(err error) bool { return err != nil && !errors.Is(err, net.ErrClosed) }

// Conn is a connection with deadlines of its own. A Read or Write that begins
// after its deadline fails. One that waits when the deadline comes can only be
// ended with the connection, which is closed then; it and all that follow fail
// with an error for which errors.Is(err, os.ErrDeadlineExceeded) holds.
// All methods may be called at the same time.
type Conn struct {
	net.Conn
	read, write side

	mu   sync.Mutex // guards the sides, too
	over bool       // a deadline has closed the connection
}

// side is one direction.
type side struct {
	deadline time.Time
	waiting  int         // calls
	timer    *time.Timer // runs while a call waits that has a deadline
}

// errOver is what everything fails with after a deadline has closed the
// connection.
var errOver error = overError{}

type overError struct{}

func (overError) Error() string {
	return fmt.Sprintf("%v; the connection has been closed for it, since it knows no deadlines", os.ErrDeadlineExceeded)
}
func (overError) Unwrap() error   { return os.ErrDeadlineExceeded }
func (overError) Timeout() bool   { return true }
func (overError) Temporary() bool { return false }

// Read is that of the connection below.
func (c *Conn) Read(b []byte) (int, error) { return c.do(&c.read, c.Conn.Read, b) }

// Write is that of the connection below.
func (c *Conn) Write(b []byte) (int, error) { return c.do(&c.write, c.Conn.Write, b) }

func (c *Conn) do(s *side, call func([]byte) (int, error), b []byte) (int, error) {
	if err := c.begin(s); err != nil {
		return 0, err
	}
	n, err := call(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.waiting--; s.waiting == 0 && s.timer != nil {
		s.timer.Stop()
	}
	if err != nil && c.over {
		err = errOver
	}
	return n, err
}

func (c *Conn) begin(s *side) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.over:
		return errOver
	case !s.deadline.IsZero() && !time.Now().Before(s.deadline):
		return os.ErrDeadlineExceeded
	}
	s.waiting++
	c.armLocked(s)
	return nil
}

// armLocked lets the timer run if a call waits that has a deadline.
func (c *Conn) armLocked(s *side) {
	switch {
	case s.waiting == 0, s.deadline.IsZero():
		if s.timer != nil {
			s.timer.Stop()
		}
	case s.timer == nil:
		s.timer = time.AfterFunc(time.Until(s.deadline), func() { c.expire(s) })
	default:
		s.timer.Reset(time.Until(s.deadline))
	}
}

// expire closes the connection, unless the timer has been stopped too late.
func (c *Conn) expire(s *side) {
	c.mu.Lock()
	late := s.waiting > 0 && !s.deadline.IsZero() && !time.Now().Before(s.deadline)
	c.over = c.over || late
	if !late {
		c.armLocked(s) // it may be a deadline of the wall clock, which has been set back
	}
	c.mu.Unlock()
	if late {
		_ = c.Close()
	}
}

// SetDeadline sets both deadlines, as [net.Conn] says.
func (c *Conn) SetDeadline(t time.Time) error { return c.set(t, &c.read, &c.write) }

// SetReadDeadline sets the deadline of Reads.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.set(t, &c.read) }

// SetWriteDeadline sets the deadline of Writes.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.set(t, &c.write) }

func (c *Conn) set(t time.Time, sides ...*side) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range sides {
		s.deadline = t
		c.armLocked(s)
	}
	return nil
}
