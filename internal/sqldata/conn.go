package sqldata

import (
	"context"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata/wire"
)

// closeGrace is how long the end of a connection that was closed may take: what
// has been written is delivered in it.
const closeGrace = time.Second

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
