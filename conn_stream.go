package cloudsqlconn

import (
	"errors"
	"net"

	"github.com/cloudsqlconn/cloudsqlconn/internal/streams"
)

// streamConn is the connection that Dial returns for a stream of SQL Data.
type streamConn struct {
	tracked
	*streams.Conn
	domain string // the DNS name that the instance was found by, or ""
}

func (c *connector) newStreamConn(conn *streams.Conn, domain string) *streamConn {
	s := &streamConn{Conn: conn, domain: domain}
	s.track(c, cutStream{s}, domain)
	return s
}

// Read reads from the database. Its errors are an [*Error], except for io.EOF, the
// end of a deadline, and net.ErrClosed.
func (c *streamConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.connector.read.Add(int64(n))
	return n, c.failed(err)
}

// Write writes to the database. Its errors are like those of Read.
func (c *streamConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.connector.written.Add(int64(n))
	return n, c.failed(err)
}

// failed returns the error of a Read or Write as the caller is to see it.
func (c *streamConn) failed(err error) error {
	err = c.explain(err)
	if _, ofStream := errors.AsType[*streams.Error](err); ofStream {
		return c.connector.newError(OpStream, err)
	}
	return err
}

// Close closes the connection, and returns at once. What Write has accepted is
// delivered in the background, for a second at most. Later calls return
// net.ErrClosed.
func (c *streamConn) Close() error {
	if !c.untrack() {
		return net.ErrClosed
	}
	return c.Conn.Close()
}

// cutStream is a stream that can be cut.
type cutStream struct{ *streamConn }

// Cut ends the connection, and gives its owner a reason: see [cutConn.Cut].
func (c cutStream) Cut(reason error) bool {
	first := c.spoil(reason)
	if first {
		_ = c.Conn.Close()
	}
	return first
}
