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
	"github.com/cloudsqlconn/cloudsqlconn/internal/secondway"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata"
)

// streamConn is the connection that Dial returns for a stream of SQL Data.
type streamConn struct {
	tracked
	*sqldata.Conn
	began time.Time   // the Dial's try
	heard atomic.Bool // something has come
}

func (c *connector) newStreamConn(conn *sqldata.Conn, n Name, began time.Time) *streamConn {
	s := &streamConn{Conn: conn, began: began}
	s.track(c, s, n)
	return s
}

// Read reads from the database. Its errors are an [*Error], except for io.EOF, the
// end of a deadline, and net.ErrClosed.
func (c *streamConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.connector.read.Add(int64(n))
	if n > 0 && !c.heard.Load() && !c.heard.Swap(true) {
		c.connector.streams.cooldown.Good(c.began)
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
	err = c.connector.dialer.streamError(status, nil)
	if exhausted(status) {
		began := c.began
		if c.heard.Load() {
			began = time.Now() // in the middle of a session, it tells of now
		}
		c.connector.streamRefused(context.Background(), began, status.RetryAfter, err)
		if until, _ := c.connector.streams.cooldown.Until(); !until.IsZero() {
			err = &coolingError{left: time.Until(until), err: err}
		}
	}
	e := c.connector.dialer.newError(OpStream, c.connector.String(), err)
	if !c.heard.Load() && lost(status) {
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

// cut ends the connection, and gives its owner a reason: see [conn.cut].
func (c *streamConn) cut(reason error) bool {
	first := c.spoil(reason)
	if first {
		_ = c.Conn.Close()
	}
	return first
}

// EngineVersion returns "": a stream does not tell.
func (c *streamConn) EngineVersion() string { return "" }

func (c *streamConn) stream() {}

// eitherConn is a stream, or a connection by an address from when it turns out
// that SQL Data does not serve the instance.
type eitherConn struct{ *secondway.Conn }

// EngineVersion returns the engine and its version, and "" while the connection
// is a stream.
func (c eitherConn) EngineVersion() string {
	return c.Current().(interface{ EngineVersion() string }).EngineVersion()
}

func (c eitherConn) stream() {}

func (c *connector) newEitherConn(stream *streamConn, t target, dc *dialConfig) net.Conn {
	by := *dc
	by.exchange = exchangeNever // the driver has been told that there is none
	var refusal atomic.Pointer[error]
	return eitherConn{secondway.New(stream, secondway.Way{
		Refused: func(err error) bool {
			if !unserved(err) || stream.Heard() {
				return false
			}
			refusal.CompareAndSwap(nil, &err)
			return true
		},
		Open: func(ctx context.Context, written []byte) (net.Conn, error) {
			g := c.dialer.begin(ctx, by.timeout)
			defer g.end()
			conn, err := c.fallBack(g, t, &by, *refusal.Load())
			if err == nil {
				err = c.send(g.ctx, conn, written)
			}
			if err != nil {
				return nil, c.dialer.reason(c.String(), err)
			}
			return conn, nil
		},
		Go: c.dialer.spawn,
	})}
}

// send writes b, or closes conn.
func (c *connector) send(ctx context.Context, conn net.Conn, b []byte) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	_, err := conn.Write(b)
	switch {
	case !stop():
		err = c.dialer.newError(OpDial, c.String(), context.Cause(ctx))
	case err != nil:
		_ = conn.Close()
	}
	return err
}

// spawn runs f in a goroutine that Close waits for, unless that has begun.
func (d *Dialer) spawn(f func()) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.connectors == nil {
		return ErrDialerClosed
	}
	d.wg.Go(f)
	return nil
}
