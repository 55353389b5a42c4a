package sqldata

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata/wire"
)

// closeGrace is how long the end of a connection that was closed may take: what
// has been written is delivered in it.
const closeGrace = time.Second

const (
	// largeMessage is how many bytes a message has that more are likely to
	// follow: as many as fit in one frame of HTTP/2.
	largeMessage = 16 << 10

	// maxAhead is how many bytes may have arrived that no Read has taken, the last
	// message apart. It goes on when a quarter is left.
	maxAhead = 256 << 10
)

// What Writes fail with that come after an end.
var (
	errEnded      = fmt.Errorf("the server has ended the connection: %w", io.ErrClosedPipe)
	errCloseWrite = fmt.Errorf("CloseWrite has been called: %w", io.ErrClosedPipe)
)

// Conn is a stream: a connection to an instance's database. It is a net.Conn
// with real deadlines: a Read or Write that one has ended can go on after it,
// and nothing is lost. All methods may be called at the same time.
//
// It has a goroutine that receives while a Read waits or much is coming, and one
// that sends while there is something to send; gRPC has one for each stream.
type Conn struct {
	stream  grpc.ClientStream
	cancel  context.CancelFunc // ends the stream
	release func(error)        // gives the stream's place back, and says how it has ended; may be called again
	name    string             // of the instance
	token   string             // that has authorised the stream

	mu     sync.Mutex // guards everything below; never held over a call of stream
	closed bool
	grace  *time.Timer // of Close; ends the stream

	readable  sync.Cond     // something that a Read waits for has changed
	readers   int           // Reads that wait
	receiving bool          // a goroutine is at it
	arrived   []*wire.Data  // and not read
	unread    int           // bytes of that
	flowing   bool          // the last message was a large one: more will come
	drained   sync.Cond     // so much has been read that the next one may come
	err       error         // how the stream has ended, after what has arrived
	first     chan struct{} // closed at the first message, or the end; then nil
	answered  bool          // the first message has come
	heard     bool          // data has come
	readBy    deadline

	writable sync.Cond     // something that a Write waits for has changed
	writing  bool          // a Write has its turn
	sending  bool          // a goroutine is at it
	next     *wire.Request // to be sent
	ended    bool          // nothing will be written any more
	sentEnd  bool
	broken   bool // sending has failed: err will say why
	writeBy  deadline
}

var _ net.Conn = (*Conn)(nil)

// newConn returns a connection over a stream whose session has been started.
// release is called once the stream has ended.
func newConn(stream grpc.ClientStream, cancel context.CancelFunc, release func(error), name, token string) *Conn {
	c := &Conn{stream: stream, cancel: cancel, release: release, name: name, token: token, first: make(chan struct{})}
	c.readable.L, c.writable.L, c.drained.L = &c.mu, &c.mu, &c.mu
	return c
}

// Answered reports whether the service has accepted the session.
func (c *Conn) Answered() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.answered
}

// Heard reports whether the database has sent anything, read or not.
func (c *Conn) Heard() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.heard
}

// Read reads what the database has sent. Its error is io.EOF at the end of the
// database connection, and a [*StatusError] if the stream has failed.
func (c *Conn) Read(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, net.ErrClosed
		case c.readBy.over():
			return 0, os.ErrDeadlineExceeded
		case len(b) == 0:
			return 0, nil
		case len(c.arrived) > 0:
			return c.takeLocked(b), nil
		case c.err != nil:
			return 0, c.err
		}
		c.receiveLocked()
		c.readers++
		c.readable.Wait()
		c.readers--
	}
}

// takeLocked reads what has arrived.
func (c *Conn) takeLocked(b []byte) int {
	n, _ := c.arrived[0].Read(b)
	if c.arrived[0].Len() == 0 {
		c.arrived[0] = nil
		c.arrived = c.arrived[1:]
	}
	if c.unread -= n; c.unread < maxAhead/4 {
		c.drained.Signal()
	}
	return n
}

// receiveLocked has somebody receive.
func (c *Conn) receiveLocked() {
	if !c.receiving && c.err == nil {
		c.receiving = true
		go c.receive()
	}
}

// receive receives until no Read waits for more. While large messages come it is
// ahead of the Reads. After the last Write it goes on to the end, which says how
// the stream has ended.
func (c *Conn) receive() {
	var m wire.Response
	for more := true; more; {
		err := c.stream.RecvMsg(&m)
		more = c.received(&m, err)
	}
}

// received is told what has come, and reports whether to receive more.
func (c *Conn) received(m *wire.Response, err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flowing = false
	switch {
	case err != nil:
		c.endLocked(streamError(err))
	case m.Terminate != nil:
		c.endLocked(terminated(m.Terminate))
	case m.Data != nil && m.Data.Len() > 0:
		c.flowing = m.Data.Len() >= largeMessage
		c.heard = true
		c.arrived = append(c.arrived, m.Data)
		c.unread += m.Data.Len()
	}
	if c.first != nil {
		c.answered = err == nil
		close(c.first)
		c.first = nil
	}
	c.readable.Broadcast()
	for c.flowing && c.unread >= maxAhead && !c.broken && !c.closed {
		c.drained.Wait()
	}
	if c.closed {
		c.discardLocked()
	}
	wanted := c.readers > 0 && len(c.arrived) == 0
	c.receiving = c.err == nil && (wanted || c.flowing || c.broken || c.closed)
	return c.receiving
}

// discardLocked drops what nobody will read.
func (c *Conn) discardLocked() {
	for _, d := range c.arrived {
		d.Free()
	}
	c.arrived, c.unread = nil, 0
}

// endLocked is told how the stream has ended.
func (c *Conn) endLocked(err error) {
	err = hide(c.token, err)
	c.err = err
	if c.grace != nil {
		c.grace.Stop()
	}
	c.cancel()
	c.release(err)
	c.writable.Broadcast()
}

// Write writes to the database. Its error is a [*StatusError] if the stream has
// failed.
func (c *Conn) Write(b []byte) (n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.waitLocked(func() bool { return !c.writing }); err != nil {
		return 0, err
	}
	c.writing = true
	defer func() {
		c.writing = false
		c.writable.Broadcast()
	}()
	for len(b) > 0 {
		if err := c.waitLocked(func() bool { return c.roomLocked() && !c.broken }); err != nil {
			return n, err
		}
		k := c.addLocked(b)
		n, b = n+k, b[k:]
		c.sendLocked()
	}
	return n, nil
}

// roomLocked reports whether there is room in the next message.
func (c *Conn) roomLocked() bool { return c.next == nil || c.next.Data.Room() > 0 }

// addLocked adds a piece of b to the next message, which waits for the one that
// is being sent, or begins it. It returns how long the piece is: 0 if the end has
// been sent meanwhile.
func (c *Conn) addLocked(b []byte) int {
	if c.next != nil {
		return c.next.Data.Append(b)
	}
	c.mu.Unlock() // nobody else fills c.next
	m, n := wire.NewRequest(b)
	c.mu.Lock()
	if c.ended {
		return 0
	}
	c.next = m
	return n
}

// waitLocked waits until a Write may go on.
func (c *Conn) waitLocked(free func() bool) error {
	for {
		switch {
		case c.closed:
			return net.ErrClosed
		case c.writeBy.over():
			return os.ErrDeadlineExceeded
		case c.ended:
			return errCloseWrite
		case errors.Is(c.err, io.EOF):
			return errEnded
		case c.err != nil:
			return c.err
		case free():
			return nil
		}
		c.writable.Wait()
	}
}

// sendLocked has somebody send.
func (c *Conn) sendLocked() {
	if !c.sending && !c.broken {
		c.sending = true
		go c.send()
	}
}

// send sends until there is nothing more.
func (c *Conn) send() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		m := c.next
		switch {
		case m == nil && (!c.ended || c.sentEnd):
			c.sending = false
			return
		case m == nil:
			c.sentEnd = true
			c.mu.Unlock()
			_ = c.stream.CloseSend() // never fails
			c.mu.Lock()
			continue
		}
		c.next = nil
		c.writable.Broadcast()
		c.mu.Unlock()
		err := c.stream.SendMsg(m)
		c.mu.Lock()
		if err != nil {
			c.brokenLocked(err)
			return
		}
	}
}

// brokenLocked is told that sending has failed. The reason is what the stream
// ends with, behind all that has arrived and not been received.
func (c *Conn) brokenLocked(err error) {
	c.sending, c.next, c.broken = false, nil, true
	c.drained.Signal()
	if !errors.Is(err, io.EOF) && c.err == nil && !c.receiving {
		c.endLocked(streamError(err))
	}
	c.receiveLocked()
}

// CloseWrite tells the database that nothing more will be written, after what
// has been. Writes that wait fail.
func (c *Conn) CloseWrite() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.endWritesLocked()
	return nil
}

func (c *Conn) endWritesLocked() {
	c.ended = true
	c.writable.Broadcast()
	c.sendLocked()
}

// Close closes the connection, and returns at once. What Write has taken is
// delivered in the background, for a second at most. After the first call it
// returns net.ErrClosed.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.closed = true
	c.readBy.set(time.Time{}, &c.readable)
	c.writeBy.set(time.Time{}, &c.writable)
	c.discardLocked()
	c.drained.Signal()
	c.endWritesLocked()
	if c.err == nil {
		c.grace = time.AfterFunc(closeGrace, c.cancel)
		c.receiveLocked() // until the end
	}
	return nil
}

// LocalAddr returns an [Addr], whose text is "local".
func (c *Conn) LocalAddr() net.Addr { return Addr("local") }

// RemoteAddr returns an [Addr], whose text is the instance's connection name.
func (c *Conn) RemoteAddr() net.Addr { return Addr(c.name) }

// Addr is an end of a stream.
type Addr string

// Network returns grpc.
func (Addr) Network() string { return "grpc" }

// String is what the end is called.
func (a Addr) String() string { return string(a) }

// SetDeadline sets the deadlines of Reads and Writes, those that wait included.
func (c *Conn) SetDeadline(t time.Time) error {
	return c.set(t, true, true)
}

// SetReadDeadline sets the deadline of Reads.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.set(t, true, false) }

// SetWriteDeadline sets the deadline of Writes.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.set(t, false, true) }

func (c *Conn) set(t time.Time, read, write bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	if read {
		c.readBy.set(t, &c.readable)
	}
	if write {
		c.writeBy.set(t, &c.writable)
	}
	return nil
}

// deadline is that of one direction. Its methods need the connection's lock.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

// set makes it t, and has those that wait look at it.
func (d *deadline) set(t time.Time, waiting *sync.Cond) {
	d.at = t
	waiting.Broadcast()
	left := time.Until(t)
	switch {
	case t.IsZero() || left <= 0:
		d.stop()
	case d.timer == nil:
		d.timer = time.AfterFunc(left, func() {
			waiting.L.Lock()
			defer waiting.L.Unlock()
			waiting.Broadcast()
			if left := time.Until(d.at); left > 0 && !d.at.IsZero() {
				d.timer.Reset(left) // the wall clock has been set back
			}
		})
	default:
		d.timer.Reset(left)
	}
}

// over reports whether it has passed.
func (d *deadline) over() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
	}
}
