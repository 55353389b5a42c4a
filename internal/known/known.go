// Package known has what is known about one instance, its metadata and its client
// certificate, and how far that is to be believed. It connects with it, and again with
// newer if it has led nowhere. It knows nothing of options, of names, and of what is done
// with a connection.
package known

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/dialing"
	"github.com/cloudsqlconn/cloudsqlconn/internal/failure"
	"github.com/cloudsqlconn/cloudsqlconn/internal/observe"
	"github.com/cloudsqlconn/cloudsqlconn/internal/reach"
	"github.com/cloudsqlconn/cloudsqlconn/internal/refresh"
	"github.com/cloudsqlconn/cloudsqlconn/internal/tlsconn"
)

// Config is what an [Instance] needs.
type Config struct {
	Fetch  refresh.Func[admin.Info] // asks the Admin API
	Policy refresh.Policy           // says when; its Judge is set by New

	Dials *dialing.Set     // of the Dialer
	Seen  observe.Instance // is told what happens
	Signs reach.Signs

	// Again is told of a try that has failed, and that another one follows.
	Again func(context.Context, *Error)

	// Refreshed is told of each refresh that has succeeded, and when its result
	// expires; Changed that the metadata is another than before.
	Refreshed func(expiry time.Time)
	Changed   func()
}

// Instance is what is known about one instance. Its methods are safe for concurrent
// use.
type Instance struct {
	// Cache has it, and keeps it fresh. What a Dial is to use is for Connect to say.
	Cache *refresh.Cache[admin.Info]

	cfg   Config
	dials dialing.Instance
	reach reach.Instance

	refused   atomic.Bool                // a connection has ended before the server said anything: a handshake proves nothing for the time being
	rejecting atomic.Pointer[time.Time]  // when the server first refused a certificate since it last accepted one; nil: it has not
	accepted  atomic.Pointer[admin.Info] // by the server, the first after a refusal; nil: there was none
	failing   atomic.Pointer[time.Time]  // when a try first failed with the metadata as it is; nil: none has
	hastened  atomic.Bool                // a fetch, for the first failure since something worked
}

// New returns an Instance of which nothing is known yet. The caller closes its Cache.
func New(cfg Config) *Instance {
	cfg.Policy.Judge = Judge
	i := &Instance{cfg: cfg}
	i.Cache = refresh.New(cfg.Policy, func(ctx context.Context) (*admin.Info, time.Time, error) {
		i.cfg.Seen.Refreshing(ctx)
		return cfg.Fetch(Traced(ctx))
	})
	i.dials.Cache = i.Cache
	i.reach = reach.Instance{Seen: cfg.Seen.Instance, Overtaken: i.cfg.Seen.Overtaken, Signs: cfg.Signs}
	i.Cache.Observe(refresh.Hooks[admin.Info]{
		Waiting: func(ctx context.Context) func(error) { return i.cfg.Seen.Wait(ctx).End },
		Landed:  i.landed,
	})
	return i
}

// Conn is a connection that leads to the instance.
type Conn struct {
	TLS  *tlsconn.Conn
	Host string      // the address
	Info *admin.Info // what it was made with
}

// Error is why there is no connection.
type Error struct {
	Op  string // the step that failed, as package failure names it
	Err error
}

func (e *Error) Error() string { return e.Op + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Connect connects; the error is nil then. If the first try fails and newer metadata
// can be had, there is a second one; and one more if the metadata has changed
// meanwhile, since an instance that is on the move can be met on the move twice.
func (i *Instance) Connect(g *dialing.Dial, to *reach.Target) (Conn, *Error) {
	info, err := i.latest(g.Context)
	if err != nil {
		return Conn{}, &Error{Op: failure.OpRefresh, Err: err}
	}
	moving := false // the metadata has changed between two tries, or may have
	for try := 1; ; try++ {
		g.Try(&i.dials, info)
		conn, failed := i.try(g.Context, info, to)
		failedAt := time.Now()
		switch moved := g.Tried(); {
		case failed == nil:
			return conn, nil
		case moved:
			i.reach.Forget() // what the end of the try has looked like
			failed.Err = dialing.ErrMoved
		case !i.blame(g.Context, info, failed), try > 1 && !moving:
			return Conn{}, failed
		}
		next := i.Cache.Next
		if moving || i.unproven(info, failedAt) {
			next = i.Cache.Await
		}
		newer, err := next(g.Context, info)
		if errors.Is(err, refresh.ErrUnchanged) {
			return Conn{}, failed
		}
		if err != nil {
			return Conn{}, &Error{Op: failed.Op, Err: failure.Lines{failed.Err, err}}
		}
		i.cfg.Again(g.Context, failed)
		moving = !newer.SameMetadata(info) || try == 1 && newer.Asked.Before(failedAt) // it may be as old as info
		info = newer
	}
}

// try connects by the first address that leads to the instance.
func (i *Instance) try(ctx context.Context, info *admin.Info, to *reach.Target) (Conn, *Error) {
	conn, host, err := i.reach.Connect(ctx, info, to)
	if err != nil {
		op := failure.OpDial
		if e, ok := errors.AsType[*reach.Error](err); ok && e.Connected() {
			op = failure.OpHandshake
		}
		return Conn{}, &Error{Op: op, Err: err}
	}
	i.dials.Looks.Answered()
	if !i.refused.Load() {
		i.proven(info)
	}
	return Conn{TLS: conn, Host: host, Info: info}, nil
}
