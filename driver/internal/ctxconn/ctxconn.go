// Package ctxconn bounds how long the calls on a connection wait: by their contexts, and a
// moment more. It knows nothing of what is said on the connection.
package ctxconn

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// confirmTimeout is how long a call goes on once its context has ended. A server
// confirms that a query is cancelled in a round trip and little more, and the
// connection can be used again then. A server that hangs costs the caller this,
// and the connection; go-mssqldb alone waits 5 s, twice.
const confirmTimeout = 150 * time.Millisecond

// Conn is a connection that ends what a call waits for soon after the call's context. Of
// calls that overlap, the context of the last one counts.
type Conn struct {
	net.Conn

	// lost says that a deadline has come, so that the two sides are out of step.
	lost atomic.Bool

	mu   sync.Mutex // guards everything below
	call int        // the one whose context counts
	end  time.Time  // of that call; zero: its context has not ended
}

// New returns a Conn over conn, which nobody else reads, writes or sets deadlines of.
func New(conn net.Conn) *Conn { return &Conn{Conn: conn} }

// Lost reports whether a Read or a Write has failed by a deadline: all others do then.
func (c *Conn) Lost() bool { return c.lost.Load() }

// Watch has all Reads and Writes fail that go on for confirmTimeout after the end of ctx,
// until release is called.
func (c *Conn) Watch(ctx context.Context) (release func()) {
	if ctx.Done() == nil {
		return func() {}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.call++
	call := c.call
	stop := context.AfterFunc(ctx, func() { c.bound(call) })
	return func() {
		if !stop() {
			c.unbound(call)
		}
	}
}

func (c *Conn) bound(call int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.call == call {
		c.end = time.Now().Add(confirmTimeout)
		_ = c.Conn.SetDeadline(c.end) // fails for a closed connection alone
	}
}

func (c *Conn) unbound(call int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.call == call {
		c.call++ // for bound, which may be under way
		c.end = time.Time{}
		_ = c.Conn.SetDeadline(c.end) // go-mssqldb sets its own before each Read and Write
	}
}

// SetDeadline sets a deadline of the program's own. The earlier one counts.
func (c *Conn) SetDeadline(d time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.end.IsZero() && (d.IsZero() || d.After(c.end)) {
		d = c.end
	}
	return c.Conn.SetDeadline(d)
}

func (c *Conn) Read(b []byte) (int, error)  { return c.do(c.Conn.Read, b) }
func (c *Conn) Write(b []byte) (int, error) { return c.do(c.Conn.Write, b) }

// do makes nothing follow a deadline: the answer to another query could be taken
// for that to the next one.
func (c *Conn) do(f func([]byte) (int, error), b []byte) (int, error) {
	if c.lost.Load() {
		return 0, os.ErrDeadlineExceeded
	}
	n, err := f(b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.lost.Store(true)
	}
	return n, err
}

// Close does not say goodbye to a server that hangs: it could wait for that.
func (c *Conn) Close() error {
	if inner, ok := c.Conn.(interface{ NetConn() net.Conn }); ok && c.lost.Load() {
		_ = inner.NetConn().Close()
	}
	return c.Conn.Close()
}
