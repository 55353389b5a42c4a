package cloudsqlconn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/dialing"
	"github.com/cloudsqlconn/cloudsqlconn/internal/doctor"
	"github.com/cloudsqlconn/cloudsqlconn/internal/secondway"
	"github.com/cloudsqlconn/cloudsqlconn/internal/streams"
)

// carrier carries connections to instances in place of TCP to an address. It is an
// interface so that a program that does not ask for SQL Data does not link it.
type carrier interface {
	dial(*connector, *dialing.Dial, target, *dialConfig) (net.Conn, error)

	// path is the carrier, for a Check.
	path(*Dialer, *dialConfig) *doctor.Stream
}

// sqlDataCarrier is SQL Data.
type sqlDataCarrier struct{}

// dial connects by a stream, or by an address if that is allowed and SQL Data does
// not serve the instance.
func (sqlDataCarrier) dial(c *connector, g *dialing.Dial, t target, dc *dialConfig) (net.Conn, error) {
	if dc.sqlData == SQLDataPrefer && !c.streams.UnservedUntil().IsZero() {
		return c.dial(g, t, dc)
	}
	stream, err := c.openStream(g.Context, t.Domain, dc)
	switch {
	case err == nil && dc.sqlData == SQLDataPrefer:
		return c.newEitherConn(stream, t, dc), nil
	case err == nil:
		return stream, nil
	case dc.sqlData == SQLDataOnly || !streams.Unserved(err):
		return nil, err
	}
	return c.fallBack(g, t, dc, err)
}

func (sqlDataCarrier) path(d *Dialer, dc *dialConfig) *doctor.Stream {
	return &doctor.Stream{
		Addr: d.cfg.serviceEndpoint().Addr(),
		Open: func(ctx context.Context, to admin.Instance) (doctor.StreamConn, error) {
			service, err := d.streamService()
			if err != nil {
				return nil, err
			}
			conn, err := service.Open(ctx, dc.call(to, dc.iam))
			if err != nil {
				return nil, err
			}
			return conn, nil
		},
		Elsewhere: func(err error) bool { return dc.sqlData == SQLDataPrefer && streams.Unserved(err) },
	}
}

// streamService returns SQL Data, made at the first use.
func (d *Dialer) streamService() (*streams.Service, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ctx.Err() != nil {
		return nil, ErrDialerClosed
	}
	s, ok := d.sqlData.(*streams.Service)
	if !ok {
		s = streams.New(streams.Config{
			Endpoint:     d.cfg.serviceEndpoint(),
			UserAgent:    d.cfg.userAgent,
			Admin:        d.admin,
			QuotaProject: d.cfg.caller.QuotaProject,
			Principal:    d.credentials.KnownEmail,
			HTTPClient:   d.cfg.caller.HTTPClient,
		})
		d.sqlData = s
	}
	return s, nil
}

// wayID tells ways of opening TCP connections apart.
type wayID struct {
	dial      *DialFunc
	proxy     string
	keepAlive time.Duration
}

// call is a stream to an instance, for a Dial with dc.
func (dc *dialConfig) call(to admin.Instance, iam bool) *streams.Call {
	return &streams.Call{
		To:  to,
		IAM: iam, Way: dc.tcp, WayID: wayID{dc.dialID, dc.proxyID, dc.tcp.KeepAlive},
	}
}

// openStream opens a stream. It waits for the end of a pause, and through what
// passes.
func (c *connector) openStream(ctx context.Context, domain string, dc *dialConfig) (*streamConn, error) {
	service, err := c.dialer.streamService()
	if err != nil {
		return nil, c.newError(OpStream, err)
	}
	opening := streams.Opening{
		Service:  service,
		Call:     dc.call(c.key.name.admin(), c.key.iam),
		Instance: &c.streams,
		Seen:     c.seen.Instance,
		Again: func(ctx context.Context, err error) {
			c.seen.StreamAgain(ctx, c.newError(OpStream, err))
		},
		Cooling: c.seen.CoolingDown,
	}
	conn, err := opening.Open(ctx)
	if err != nil {
		return nil, c.newError(OpStream, err)
	}
	return c.newStreamConn(conn, domain), nil
}

// fallBack connects by an address, since SQL Data does not serve the instance.
func (c *connector) fallBack(g *dialing.Dial, t target, dc *dialConfig, refusal error) (net.Conn, error) {
	conn, err := c.dial(g, t, dc)
	if err == nil {
		c.seen.FellBack(g.Context, causeOf(refusal), c.streams.Unserved())
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

// eitherConn is a stream, or a connection by an address from when it turns out
// that SQL Data does not serve the instance.
type eitherConn struct{ *secondway.Conn }

func (c *connector) newEitherConn(stream *streamConn, t target, dc *dialConfig) net.Conn {
	by := *dc
	by.exchange = exchangeNever // the driver has been told that there is none
	var refusal atomic.Pointer[error]
	return eitherConn{secondway.New(stream, secondway.Way{
		Refused: func(err error) bool {
			if !streams.Unserved(err) || stream.Heard() {
				return false
			}
			refusal.CompareAndSwap(nil, &err)
			return true
		},
		Open: func(ctx context.Context, written []byte) (net.Conn, error) {
			g := c.dialer.dials.Begin(ctx, by.timeout)
			defer g.End()
			conn, err := c.fallBack(g, t, &by, *refusal.Load())
			if err == nil {
				err = secondway.Send(g.Context, conn, written)
			}
			if _, told := errors.AsType[*Error](err); err != nil && !told {
				err = c.newError(OpDial, err)
			}
			if err != nil {
				return nil, c.dialer.reason(c.String(), err)
			}
			return conn, nil
		},
		Go: c.dialer.spawn,
	})}
}

// spawn runs f in a goroutine that Close waits for, unless that has begun.
func (d *Dialer) spawn(f func()) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ctx.Err() != nil {
		return ErrDialerClosed
	}
	d.wg.Go(f)
	return nil
}

// SQLDataMode returns whether a Dial with opts uses SQL Data. Driver packages call
// it for their hints.
func (d *Dialer) SQLDataMode(opts ...DialOption) SQLDataMode {
	dc, err := d.cfg.dial.with(opts)
	if err != nil {
		return SQLDataNever
	}
	return dc.sqlData
}
