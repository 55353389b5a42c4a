// Package secondway is for connections of which it turns out late that they lead
// nowhere: another one is opened then, gets what has been written, and takes the
// place of the first. It knows nothing of how either is opened.
package secondway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Most is how many bytes are kept to be written again.
const Most = 64 << 10

// Way is what to do when the first connection is refused.
type Way struct {
	// Refused reports whether an error of the first connection means that it
	// leads nowhere, and that nothing has been done with what was written.
	Refused func(error) bool

	// Open opens the second connection, and writes what the first has taken to
	// it. It returns soon after ctx ends, which it does when the Conn is closed.
	Open func(ctx context.Context, written []byte) (net.Conn, error)

	// Go runs a function in a goroutine, or returns why it does not.
	Go func(func()) error
}

// TooMuchError is the refusal of a first connection to which more was written
// than is kept.
type TooMuchError struct {
	Written int64
	Err     error // the refusal
}

func (e *TooMuchError) Error() string {
	return fmt.Sprintf("%v; %d bytes had been written by then, and no more than %d can be written again another way", e.Err, e.Written, Most)
}

// Unwrap returns the refusal.
func (e *TooMuchError) Unwrap() error { return e.Err }

// Conn is the first connection until something has come over it, or until it is
// refused, and then the second. Nobody notices but by how long it takes: the
// Read and the Write that wait for the second connection obey their deadlines
// and Close, and while they do not wait it is opened all the same. Its methods
// may be called at the same time.
type Conn struct {
	ctx   context.Context // ends at Close
	close context.CancelFunc
	turn  chan struct{} // is empty during a Write

	// conn stays as it is, and nothing below is of use any more for
	readsDone, writesDone atomic.Bool

	mu          sync.Mutex // guards everything below; held over no call that can wait
	conn        net.Conn   // the one in use
	way         Way        // zero once settled
	state       state
	read, write side
	kept        []byte // what the first has taken
	written     int64  // how much that was
	ended       bool   // CloseWrite was called
	closed      bool
	idle        chan struct{} // closed when no Write of the first is in progress; nil: none is
	switched    chan struct{} // closed when the switch is over
	err         error         // why there is no second connection
}

// state is how far a Conn is. It only rises.
type state int

const (
	asking    state = iota // nothing has come over the first
	switching              // the second is being opened
	settled                // conn stays as it is, or err is set
)

// New returns a connection over first.
func New(first net.Conn, way Way) *Conn {
	c := &Conn{way: way, conn: first, turn: make(chan struct{}, 1)}
	c.turn <- struct{}{}
	c.ctx, c.close = context.WithCancel(context.Background())
	return c
}

// Current returns the connection in use.
func (c *Conn) Current() net.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn
}

// Read reads from the connection in use. The first error of the first one can be
// that of the second, which could not be opened, or a [*TooMuchError].
func (c *Conn) Read(b []byte) (int, error) {
	if c.readsDone.Load() {
		return c.conn.Read(b)
	}
	for {
		conn, st, err := c.use(&c.read)
		if err != nil {
			return 0, err
		}
		n, err := conn.Read(b)
		if st == settled {
			return n, err
		}
		if n > 0 {
			c.settle(conn)
			return n, err
		}
		if !c.leads(conn, err) {
			return n, err
		}
	}
}

// Write writes to the connection in use, and if that is refused all of b to the
// second.
func (c *Conn) Write(b []byte) (n int, err error) {
	if c.writesDone.Load() {
		return c.conn.Write(b)
	}
	if err := c.wait(&c.write, c.turn); err != nil {
		return 0, err
	}
	defer func() { c.turn <- struct{}{} }()
	for {
		conn, st, err := c.use(&c.write)
		if err != nil {
			return n, err
		}
		if st == settled {
			m, err := conn.Write(b[n:])
			c.writesDone.Store(true) // not before: the rest of b belongs to what the first has taken
			return n + m, err
		}
		if !c.begin(conn) {
			continue // it is being switched
		}
		m, err := conn.Write(b[n:])
		c.wrote(b[n : n+m])
		n += m
		if !c.leads(conn, err) {
			return n, err
		}
	}
}

// use returns the connection to use, and waits for it if it is being switched.
func (c *Conn) use(s *side) (net.Conn, state, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.state == switching {
		switched := c.switched
		c.mu.Unlock()
		err := c.wait(s, switched)
		c.mu.Lock()
		if err != nil {
			return nil, 0, err
		}
	}
	return c.conn, c.state, c.err
}

// begin says that a Write of the first connection begins, and reports whether it
// may: nothing must be written while the second gets what was.
func (c *Conn) begin(conn net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != conn || c.state == switching {
		return false
	}
	c.idle = make(chan struct{})
	return true
}

// wrote says that the first connection has taken b, and that its Write is over.
func (c *Conn) wrote(b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.written += int64(len(b))
	switch {
	case c.state == settled:
	case c.written > Most:
		c.kept = nil
	default:
		c.kept = append(c.kept, b...)
	}
	close(c.idle)
	c.idle = nil
}

// side is one direction.
type side struct {
	deadline time.Time
	changed  chan struct{} // closed when deadline changes; nil: nobody waits
}

// wait waits until there is something to receive, for no longer than the
// deadline and Close allow.
func (c *Conn) wait(s *side, what <-chan struct{}) error {
	for {
		c.mu.Lock()
		if s.changed == nil {
			s.changed = make(chan struct{})
		}
		deadline, changed := s.deadline, s.changed
		c.mu.Unlock()
		var expired <-chan time.Time
		if !deadline.IsZero() {
			if !time.Now().Before(deadline) {
				return os.ErrDeadlineExceeded
			}
			timer := time.NewTimer(time.Until(deadline))
			defer timer.Stop()
			expired = timer.C
		}
		select {
		case <-what:
			return nil
		case <-c.ctx.Done():
			return net.ErrClosed
		case <-expired:
		case <-changed:
		}
	}
}

// CloseWrite ends the direction of Writes, of either connection.
func (c *Conn) CloseWrite() error {
	c.mu.Lock()
	c.ended = true
	conn, st, err := c.conn, c.state, c.err
	c.mu.Unlock()
	if st == switching || err != nil {
		return err
	}
	ended := closeWrite(conn)
	c.mu.Lock()
	defer c.mu.Unlock()
	if st == asking && (c.state == switching || c.conn != conn) {
		return nil // the second is told, whatever the first says
	}
	return ended
}

func closeWrite(conn net.Conn) error {
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.New("the connection has no CloseWrite")
	}
	return half.CloseWrite()
}

// Close closes the connection in use, and ends the opening of another. After the
// first call it returns net.ErrClosed.
func (c *Conn) Close() error {
	c.close()
	c.mu.Lock()
	closed, conn, gone := c.closed, c.conn, c.state == switching || c.err != nil
	c.closed = true
	c.mu.Unlock()
	if closed {
		return net.ErrClosed
	}
	err := conn.Close()
	if gone {
		return nil // it may have been closed by the switch, as the second will be
	}
	return err
}

// LocalAddr returns that of the connection in use.
func (c *Conn) LocalAddr() net.Addr { return c.Current().LocalAddr() }

// RemoteAddr returns that of the connection in use.
func (c *Conn) RemoteAddr() net.Addr { return c.Current().RemoteAddr() }

// SetDeadline sets both deadlines, which the second connection gets, too.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline sets the deadline of Reads.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.set(&c.read, t, net.Conn.SetReadDeadline) }

// SetWriteDeadline sets the deadline of Writes.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	return c.set(&c.write, t, net.Conn.SetWriteDeadline)
}

func (c *Conn) set(s *side, t time.Time, set func(net.Conn, time.Time) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.deadline = t
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
	if c.state == switching {
		return nil // the second will get it
	}
	return set(c.conn, t)
}
