package cloudsqlconn

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/failure"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata"
	"github.com/cloudsqlconn/cloudsqlconn/internal/streams"
)

// streamConn is the connection that Dial returns for a stream of SQL Data.
type streamConn struct {
	tracked
	*sqldata.Conn
	service *streams.Service
	domain  string      // the DNS name that the instance was found by, or ""
	began   time.Time   // the Dial's try
	heard   atomic.Bool // something has come
}

func (c *connector) newStreamConn(conn *sqldata.Conn, service *streams.Service, domain string, began time.Time) *streamConn {
	s := &streamConn{Conn: conn, service: service, domain: domain, began: began}
	s.track(c, cutStream{s}, domain)
	return s
}

// Read reads from the database. Its errors are an [*Error], except for io.EOF, the
// end of a deadline, and net.ErrClosed.
func (c *streamConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.connector.read.Add(int64(n))
	if n > 0 && !c.heard.Load() && !c.heard.Swap(true) {
		c.connector.streams.Good(c.began)
	}
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
	if err = c.explain(err); err == nil || errors.Is(err, io.EOF) {
		return err
	}
	status, ok := errors.AsType[*sqldata.StatusError](err)
	if !ok {
		return err
	}
	err = c.service.Explain(status)
	if status.Exhausted() {
		began := c.began
		if c.heard.Load() {
			began = time.Now() // in the middle of a session, it tells of now
		}
		if until := c.connector.streams.Refused(began, status.RetryAfter, err); !until.IsZero() {
			c.connector.seen.CoolingDown(context.Background(), err, until)
		}
		if until := c.connector.streams.CoolingUntil(); !until.IsZero() {
			err = &streams.CoolingError{Left: time.Until(until), Err: err}
		}
	}
	e := c.connector.dialer.newError(OpStream, c.connector.String(), err)
	if !c.heard.Load() && status.Lost() {
		e.Err = failure.Mark(driver.ErrBadConn, e.Err) // nothing has been done: database/sql may connect again
	}
	return e
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
