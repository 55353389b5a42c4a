package sqldata

import (
	"net"
	"os"

	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata/wire"
)

const (
	// largeMessage is how many bytes a message has that more are likely to
	// follow: as many as fit in one frame of HTTP/2.
	largeMessage = 16 << 10

	// maxAhead is how many bytes may have arrived that no Read has taken, the last
	// message apart. It goes on when a quarter is left.
	maxAhead = 256 << 10
)

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
