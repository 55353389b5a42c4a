package streams

import (
	"context"
	"errors"
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
	"github.com/cloudsqlconn/cloudsqlconn/internal/kind"
	"github.com/cloudsqlconn/cloudsqlconn/internal/netdial"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata"
	"github.com/cloudsqlconn/cloudsqlconn/internal/telemetry"
)

const (
	// unservedFor is how long it is remembered at least that SQL Data does not
	// serve an instance, and at most half as long again.
	unservedFor = 10 * time.Minute

	// The pauses between tries to open a stream.
	firstPause = 200 * time.Millisecond
	mostPause  = 5 * time.Second
)

// Instance is what is known of SQL Data and one instance. Its zero value knows
// nothing. Its methods are safe for concurrent use.
type Instance struct {
	cooldown cooldown.Cooldown
	unserved atomic.Pointer[time.Time] // until when the instance counts as not served; nil: it does not
}

// UnservedUntil returns until when the instance counts as not served, the zero
// time if it does not.
func (i *Instance) UnservedUntil() time.Time {
	if until := i.unserved.Load(); until != nil && time.Now().Before(*until) {
		return *until
	}
	return time.Time{}
}

// Unserved is told that SQL Data does not serve the instance, and that it was
// reached in another way. It returns until when that is remembered.
func (i *Instance) Unserved() (until time.Time) {
	until = time.Now().Add(unservedFor + rand.N(unservedFor/2))
	i.unserved.Store(&until)
	return until
}

// Forget forgets that SQL Data does not serve the instance.
func (i *Instance) Forget() { i.unserved.Store(nil) }

// CoolingUntil returns when SQL Data is asked again, the zero time if it can be now.
func (i *Instance) CoolingUntil() time.Time {
	until, _ := i.cooldown.Until()
	return until
}

// Good is told that something which began at that time was not refused.
func (i *Instance) Good(began time.Time) { i.cooldown.Good(began) }

// Refused is told that SQL Data is exhausted, says something that began at that
// time, and for how long it asks to be left alone. If a pause begins with that, it
// returns its end.
func (i *Instance) Refused(began time.Time, after time.Duration, err error) (until time.Time) {
	had := i.CoolingUntil()
	i.cooldown.Refused(began, after, err)
	if !had.IsZero() {
		return time.Time{}
	}
	return i.CoolingUntil()
}

// Opening is how a stream is opened. Its methods are not those of Instance, so that a
// program which does not ask for SQL Data does not link them.
type Opening struct {
	Service  *Service
	Call     *Call
	Instance *Instance
	Seen     *telemetry.Instance

	// Again is told of a try that has failed, and that another one follows.
	Again func(ctx context.Context, err error)

	// Cooling is told of a pause that begins.
	Cooling func(ctx context.Context, refusal error, until time.Time)
}

// Open opens a stream. It waits for the end of a pause, and through what passes.
func (o *Opening) Open(ctx context.Context) (*Conn, error) {
	pause := firstPause
	var before error // of the try before
	for {
		if err := o.Instance.coolDown(ctx); err != nil {
			return nil, err
		}
		began := time.Now()
		conn, err := o.try(ctx)
		if err == nil {
			if conn.Answered() {
				o.Instance.Good(began)
			}
			return &Conn{Conn: conn, service: o.Service, instance: o.Instance, cooling: o.Cooling, began: began}, nil
		}
		status, _ := errors.AsType[*sqldata.StatusError](err)
		switch {
		case failure.Over(ctx) && status == nil && before != nil:
			return nil, failure.Lines{err, before}
		case failure.Over(ctx):
			return nil, failure.Ended(ctx, err)
		case status.Exhausted():
			if until := o.Instance.Refused(began, status.RetryAfter, err); !until.IsZero() {
				o.Cooling(ctx, err, until)
			}
			continue
		case !passes(err, status):
			return nil, err
		}
		before = err
		o.Again(ctx, err)
		if !sleep(ctx, time.Duration(float64(pause)*(0.5+rand.Float64()))) {
			return nil, failure.Ended(ctx, err)
		}
		pause = min(2*pause, mostPause)
	}
}

// try opens a stream in a span of its own.
func (o *Opening) try(ctx context.Context) (*sqldata.Conn, error) {
	endpoint := o.Service.cfg.Endpoint
	port, _ := strconv.Atoi(endpoint.Port) // it has been checked
	ctx, span := o.Seen.Stream(ctx, endpoint.Host, port)
	conn, err := o.Service.Open(ctx, o.Call)
	span.Status(kind.Status(err))
	span.End(err)
	return conn, err
}

// coolDown waits until SQL Data may be asked again, and fails at once if ctx does
// not last until then.
func (i *Instance) coolDown(ctx context.Context) error {
	for {
		until, why := i.cooldown.Until()
		if until.IsZero() {
			return nil
		}
		left := time.Until(until)
		deadline, bounded := ctx.Deadline()
		after := deadline.Sub(until) // of ctx
		if bounded && after <= 0 {
			return &CoolingError{Left: left, Err: why}
		}
		// A burst that has waited must not come back as one.
		spread := left/4 + time.Second
		if bounded {
			spread = min(spread, after)
		}
		if !sleep(ctx, left+rand.N(spread)) {
			return failure.Ended(ctx, &CoolingError{Left: time.Until(until), Err: why})
		}
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

// Unserved reports whether err says that SQL Data does not serve the instance.
func Unserved(err error) bool {
	status, ok := errors.AsType[*sqldata.StatusError](err)
	return ok && status.Unserved()
}

// passes reports whether another try to open a stream makes sense, after err,
// which can have a status.
func passes(err error, status *sqldata.StatusError) bool {
	if status == nil || !status.Lost() && status.Code != codes.DeadlineExceeded {
		return false
	}
	if status.Middlebox() || strings.Contains(status.Message, "x509: ") {
		return false
	}
	proxy, ok := errors.AsType[*netdial.Error](err)
	_, network := errors.AsType[net.Error](err)
	return !ok || network || errors.Is(proxy, io.EOF) || errors.Is(proxy, io.ErrUnexpectedEOF)
}
