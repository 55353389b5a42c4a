package streams

import (
	"context"
	"database/sql/driver"
	"errors"
	"sync/atomic"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/failure"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata"
)

// Conn is a stream that an [Opening] has opened. The Instance is told of its first
// byte, and of a refusal.
type Conn struct {
	*sqldata.Conn
	service  *Service
	instance *Instance
	cooling  func(ctx context.Context, refusal error, until time.Time)
	began    time.Time   // the try
	read     atomic.Bool // something has been read
}

// Read reads from the database. Its errors are those of the stream; a status is an
// [*Error], in a [*CoolingError] while SQL Data is left alone, and driver.ErrBadConn if
// nothing can have been done yet.
func (c *Conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && !c.read.Load() && !c.read.Swap(true) {
		c.instance.Good(c.began)
	}
	return n, c.failed(err)
}

// Write writes to the database. Its errors are like those of Read.
func (c *Conn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	return n, c.failed(err)
}

func (c *Conn) failed(err error) error {
	status, ok := errors.AsType[*sqldata.StatusError](err)
	if !ok {
		return err
	}
	err = c.service.Explain(status)
	if status.Exhausted() {
		began := c.began
		if c.read.Load() {
			began = time.Now() // in the middle of a session, it tells of now
		}
		if until := c.instance.Refused(began, status.RetryAfter, err); !until.IsZero() {
			c.cooling(context.Background(), err, until)
		}
		if until := c.instance.CoolingUntil(); !until.IsZero() {
			err = &CoolingError{Left: time.Until(until), Err: err}
		}
	}
	if !c.read.Load() && status.Lost() {
		err = failure.Mark(driver.ErrBadConn, err) // nothing has been done: database/sql may connect again
	}
	return err
}
