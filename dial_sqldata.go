package cloudsqlconn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/cloudsqlconn/cloudsqlconn/internal/cooldown"
	"github.com/cloudsqlconn/cloudsqlconn/internal/failure"
	"github.com/cloudsqlconn/cloudsqlconn/internal/netdial"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata/wire"
)

const (
	// unservedFor is how long it is remembered at least that SQL Data does not
	// serve an instance, and at most half as long again.
	unservedFor = 10 * time.Minute

	// The pauses between tries to open a stream.
	firstStreamPause = 200 * time.Millisecond
	mostStreamPause  = 5 * time.Second
)

// way is how instances are reached if not by an address. It is an interface so
// that a program that does not ask for SQL Data does not link it.
type way interface {
	dial(*connector, *dialing, target, *dialConfig) (net.Conn, error)

	// check takes the hops of this way to the instance n, and reports whether
	// addresses are the way after all.
	check(ctx context.Context, c *check, n Name, named, authorised bool) (addresses bool)
}

// sqlDataWay is SQL Data.
type sqlDataWay struct{}

func (sqlDataWay) dial(c *connector, g *dialing, t target, dc *dialConfig) (net.Conn, error) {
	return c.dialSQLData(g, t, dc)
}

func (sqlDataWay) check(ctx context.Context, c *check, n Name, named, authorised bool) (addresses bool) {
	return c.stream(ctx, n, named, authorised)
}

// streams is what is known of SQL Data and one instance.
type streams struct {
	cooldown cooldown.Cooldown
	unserved atomic.Pointer[time.Time] // until when the instance counts as not served; nil: it does not
}

// unservedUntil returns until when the instance counts as not served, the zero
// time if it does not.
func (s *streams) unservedUntil() time.Time {
	if until := s.unserved.Load(); until != nil && time.Now().Before(*until) {
		return *until
	}
	return time.Time{}
}

// fellBack is told that an address has led to the instance, which SQL Data does
// not serve.
func (c *connector) fellBack(ctx context.Context, refusal error) {
	until := time.Now().Add(unservedFor + rand.N(unservedFor/2))
	c.streams.unserved.Store(&until)
	c.seen.fellBack(ctx, refusal, until)
}

// dialSQLData connects by a stream, or by an address if that is allowed and SQL
// Data does not serve the instance.
func (c *connector) dialSQLData(g *dialing, t target, dc *dialConfig) (net.Conn, error) {
	if dc.sqlData == SQLDataPrefer && !c.streams.unservedUntil().IsZero() {
		return c.dial(g, t, dc)
	}
	stream, err := c.openStream(g.ctx, t.name, dc)
	switch {
	case err == nil && dc.sqlData == SQLDataPrefer:
		return c.newEitherConn(stream, t, dc), nil
	case err == nil:
		return stream, nil
	case dc.sqlData == SQLDataOnly || !unserved(err):
		return nil, err
	}
	return c.fallBack(g, t, dc, err)
}

// fallBack connects by an address.
func (c *connector) fallBack(g *dialing, t target, dc *dialConfig, refusal error) (net.Conn, error) {
	conn, err := c.dial(g, t, dc)
	if err == nil {
		c.fellBack(g.ctx, refusal)
		return conn, nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		failed := *e
		failed.Err = fmt.Errorf("%w; before that, SQL Data had refused: %v", e.Err, causeOf(refusal))
		err = &failed
	}
	return nil, err
}

// causeOf is an error without what an [*Error] adds.
func causeOf(err error) error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Err
	}
	return err
}

// openStream opens a stream. It waits for the end of a cooldown, and through what
// passes.
func (c *connector) openStream(ctx context.Context, n Name, dc *dialConfig) (*streamConn, error) {
	pause := firstStreamPause
	var before error // of the try before
	for {
		if err := c.coolDown(ctx); err != nil {
			return nil, c.dialer.newError(OpStream, c.String(), err)
		}
		began := time.Now()
		conn, err := c.tryStream(ctx, n, dc)
		if err == nil {
			if conn.Answered() {
				c.streams.cooldown.Good(began)
			}
			return c.newStreamConn(conn, n, began), nil
		}
		status, _ := errors.AsType[*sqldata.StatusError](err)
		switch {
		case failure.Over(ctx) && status == nil && before != nil:
			return nil, c.dialer.newError(OpStream, c.String(), failure.Lines{err, before})
		case failure.Over(ctx):
			return nil, c.dialer.newError(OpStream, c.String(), failure.Ended(ctx, err))
		case exhausted(status):
			c.streamRefused(ctx, began, status.RetryAfter, err)
			continue
		case !passes(err, status):
			return nil, c.dialer.newError(OpStream, c.String(), err)
		}
		before = err
		failed := c.dialer.newError(OpStream, c.String(), err)
		c.seen.streamAgain(ctx, failed)
		if !sleep(ctx, time.Duration(float64(pause)*(0.5+rand.Float64()))) {
			return nil, c.dialer.newError(OpStream, c.String(), failure.Ended(ctx, err))
		}
		pause = min(2*pause, mostStreamPause)
	}
}

// tryStream opens a stream in a span of its own.
func (c *connector) tryStream(ctx context.Context, n Name, dc *dialConfig) (*sqldata.Conn, error) {
	service := c.dialer.cfg.serviceEndpoint()
	port, _ := strconv.Atoi(service.Port) // it has been checked
	ctx, span := c.seen.Stream(ctx, service.Host, port)
	conn, err := c.dialer.openStream(ctx, n, c.key.iam, dc)
	span.Status(statusName(err))
	span.End(err)
	return conn, err
}

// coolDown waits until SQL Data may be asked again, and fails at once if ctx does
// not last until then.
func (c *connector) coolDown(ctx context.Context) error {
	for {
		until, why := c.streams.cooldown.Until()
		if until.IsZero() {
			return nil
		}
		left := time.Until(until)
		deadline, bounded := ctx.Deadline()
		after := deadline.Sub(until) // of ctx
		if bounded && after <= 0 {
			return &coolingError{left: left, err: why}
		}
		// A burst that has waited must not come back as one.
		spread := left/4 + time.Second
		if bounded {
			spread = min(spread, after)
		}
		if !sleep(ctx, left+rand.N(spread)) {
			return failure.Ended(ctx, &coolingError{left: time.Until(until), err: why})
		}
	}
}

// coolingError says that SQL Data has refused, and is left alone for a while.
type coolingError struct {
	left time.Duration
	err  error
}

func (e *coolingError) Error() string {
	return fmt.Sprintf("%v; it will not be asked for another %v", e.err, max(0, e.left.Round(100*time.Millisecond)))
}

func (e *coolingError) Unwrap() error { return e.err }

// streamRefused is told that SQL Data is exhausted, says something that began at
// that time, and for how long it asks to be left alone.
func (c *connector) streamRefused(ctx context.Context, began time.Time, after time.Duration, err error) {
	had, _ := c.streams.cooldown.Until()
	c.streams.cooldown.Refused(began, after, err)
	if until, _ := c.streams.cooldown.Until(); had.IsZero() && !until.IsZero() {
		c.seen.coolingDown(ctx, err, until)
	}
}

// sleep waits, and reports whether ctx has lasted as long.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// unserved reports whether err says that SQL Data does not serve the instance.
func unserved(err error) bool {
	status, ok := errors.AsType[*sqldata.StatusError](err)
	return ok && status.Unserved()
}

func exhausted(s *sqldata.StatusError) bool { return s != nil && s.Code == codes.ResourceExhausted }

// lost reports whether a stream has failed in a way that says nothing about the
// next one: the connection to the service has broken, or the service has lost
// the instance.
func lost(s *sqldata.StatusError) bool {
	switch s.Code {
	case codes.Unavailable, codes.Aborted, codes.Unknown, codes.Canceled:
		return true
	case codes.Internal:
		return s.Reason != wire.ReconnectFailed
	}
	return false
}

// passes reports whether another try to open a stream makes sense, after err,
// which can have a status.
func passes(err error, status *sqldata.StatusError) bool {
	if status == nil || !lost(status) && status.Code != codes.DeadlineExceeded {
		return false
	}
	if middlebox(status) || strings.Contains(status.Message, "x509: ") {
		return false
	}
	proxy, ok := errors.AsType[*netdial.Error](err)
	_, network := errors.AsType[net.Error](err)
	return !ok || network || errors.Is(proxy, io.EOF) || errors.Is(proxy, io.ErrUnexpectedEOF)
}

// middlebox reports whether what answers does not speak HTTP/2. gRPC tells that
// in the text only.
func middlebox(s *sqldata.StatusError) bool {
	return s.Code == codes.Unavailable && (strings.Contains(s.Message, "ALPN") || strings.Contains(s.Message, "server preface") || strings.Contains(s.Message, "malformed header"))
}
