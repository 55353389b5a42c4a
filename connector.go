// Package cloudsqlconn connects Go programs to Google Cloud SQL.
//
// Make one [Dialer] for the whole process and call [Dialer.Dial] with the name
// of an instance, project:region:instance. It returns a net.Conn that is
// authorised by IAM, encrypted with TLS 1.3 and proven to end at that exact
// instance; the database protocol starts with its first byte. The packages
// under driver/ do this for pgx, go-sql-driver/mysql and go-mssqldb.
//
//	dialer, err := cloudsqlconn.NewDialer(ctx)
//	...
//	defer dialer.Close()
//	conn, err := dialer.Dial(ctx, "my-project:europe-west1:my-db")
//
// # What a Dial does
//
// It resolves the name, gets the instance's metadata and a client certificate
// from the SQL Admin API (once; both are cached and kept fresh), opens a TCP
// connection to port 3307 and makes it a verified TLS connection. The caller
// needs the role Cloud SQL Client and, by default, Application Default
// Credentials.
//
// # What to rely on
//
// A cached certificate is used until it expires, whatever happens to the Admin API.
// A Dial waits through transient failures for as long as its context lasts, and a
// call that goes unanswered for longer than usual (1.5 s at first) is made a second
// time, over another connection. Refusals are remembered and returned at once. When
// an instance cannot be reached or verified, Dial asks for fresh metadata and tries
// again. Every error is an [*Error] that says which step failed and, where there is
// a next step, what to do; ERRORS.md in the repository lists them all.
//
// There is no goroutine per connection, except for those of [WithSQLData], and none
// at all between refreshes.
//
// # What it does not do
//
// It does not pool connections: database/sql and pgxpool do. It looks up DNS names
// only if told to: see [WithDNSResolver]. It logs nothing without [WithLogger].
// Spans and metrics go to OpenTelemetry's global providers, which drop them until
// the program sets others: see [WithTracerProvider].
//
// Package cloudsqltest emulates the cloud side for tests. Exported names and
// documented behaviour follow semantic versioning; texts of errors and hints
// can change at any time.
package cloudsqlconn

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/dialing"
	"github.com/cloudsqlconn/cloudsqlconn/internal/failure"
	"github.com/cloudsqlconn/cloudsqlconn/internal/hint"
	"github.com/cloudsqlconn/cloudsqlconn/internal/mdx"
	"github.com/cloudsqlconn/cloudsqlconn/internal/observe"
	"github.com/cloudsqlconn/cloudsqlconn/internal/reach"
	"github.com/cloudsqlconn/cloudsqlconn/internal/refresh"
	"github.com/cloudsqlconn/cloudsqlconn/internal/streams"
	"github.com/cloudsqlconn/cloudsqlconn/internal/tlsverify"
)

// startPause bounds the pauses between looks whether an instance that is not
// ready has started, for a Dial that waits for it: with what is added to spread
// them, it is found within 5 s.
const startPause = 4 * time.Second

// idleAfter is how long a connector is kept at least after its last Dial.
const idleAfter = 15 * time.Minute

// connector is everything about one instance: what is known about it, and how
// to reach it.
type connector struct {
	key     key
	cache   *refresh.Cache[admin.Info]
	dialer  *Dialer
	dials   dialing.Instance
	reach   reach.Instance
	streams streams.Instance
	seen    observe.Instance

	userAgent string // what a metadata exchange tells

	lastDial time.Time // guarded by Dialer.mu

	refused atomic.Bool // the last first Read failed: a handshake proves nothing for the time being

	open          atomic.Int64 // connections
	read, written atomic.Int64 // bytes
}

func (d *Dialer) newConnector(k key) *connector {
	inst := k.name.admin()
	c := &connector{key: k, dialer: d, userAgent: d.cfg.userAgent}
	c.seen = observe.New(d.telemetry.Instance(k.name.String(), k.iam), d.cfg.observe.log, k.name.String(), k.iam)
	c.reach = reach.Instance{Seen: c.seen.Instance, Overtaken: c.seen.Overtaken, Signs: d.cfg.signs()}
	fetch := func(ctx context.Context) (*admin.Info, time.Time, error) {
		c.seen.Refreshing(ctx)
		return d.admin.Fetch(traced(ctx), inst, k.iam)
	}
	policy := refresh.Policy{Lazy: d.cfg.lazy, Timeout: d.cfg.refreshTimeout, Judge: judge, Pacer: &d.pacer}
	c.cache = refresh.New(policy, fetch)
	c.dials.Cache = c.cache
	c.cache.Observe(refresh.Hooks[admin.Info]{
		Waiting: func(ctx context.Context) func(error) { return c.seen.Wait(ctx).End },
		Landed:  c.landed,
	})
	return c
}

// traced returns the context of a fetch, which tells its cache what the Admin
// API's client tells.
func traced(ctx context.Context) context.Context {
	return admin.WithTrace(ctx, admin.Trace{
		Failed: func(err error) { refresh.Tried(ctx, err) },
		Hedged: func() { refresh.Note(ctx) },
	})
}

// String returns the instance's name.
func (c *connector) String() string { return c.key.name.String() }

// judge says what a failed refresh means for the next one.
func judge(err error) refresh.Verdict {
	v := refresh.Verdict{Terminal: admin.Terminal(err), RetryAfter: admin.RetryAfter(err, time.Now())}
	if admin.NotReady(err) {
		v.MaxPause = startPause
	}
	return v
}

// idle reports whether nobody has dialled the instance for a long time. The
// caller holds Dialer.mu.
func (c *connector) idle() bool {
	return time.Since(c.lastDial) > idleAfter && c.open.Load() == 0 && c.cache.Idle()
}

// dial connects. If the first try fails and newer metadata can be had, there
// is a second one; and one more if the metadata has changed meanwhile, since
// an instance that is on the move can be met on the move twice.
func (c *connector) dial(g *dialing.Dial, t target, dc *dialConfig) (net.Conn, error) {
	info, err := c.latest(g.Context)
	if err != nil {
		return nil, c.dialer.newError(OpRefresh, c.String(), err)
	}
	moving := false // the metadata has changed between two tries
	for try := 1; ; try++ {
		g.Try(&c.dials, info)
		conn, failed := c.connect(g.Context, info, t, dc)
		moved := g.Tried()
		switch {
		case failed == nil:
			return conn, nil
		case moved:
			c.reach.Forget() // what the end of the try has looked like
			failed = c.dialer.newError(failed.Op, c.String(), dialing.ErrMoved)
		case !c.blame(g.Context, info, failed), try > 1 && !moving:
			return nil, failed
		}
		next := c.cache.Next
		if moving {
			next = c.cache.Await
		}
		newer, err := next(g.Context, info)
		if errors.Is(err, refresh.ErrUnchanged) {
			return nil, failed
		}
		if err != nil {
			return nil, c.dialer.newError(failed.Op, c.String(), failure.Lines{failed.Err, err})
		}
		c.seen.Again(g.Context, failed)
		moving = !newer.SameMetadata(info)
		info = newer
	}
}

// blame tells the cache what a failed try means for info, and reports whether
// another one makes sense.
func (c *connector) blame(ctx context.Context, info *admin.Info, err error) bool {
	var unverified *tlsverify.Error
	switch {
	case errors.Is(err, ErrNoAddress):
		return false
	case failure.Over(ctx) && !errors.Is(context.Cause(ctx), failure.ErrDialTimeout):
		// The caller has gone, which says nothing about the instance. That no
		// answer came until then does: it helps the next one.
		if failed, ok := errors.AsType[*reach.Error](err); ok && failed.Silent() && c.dials.Looks.Unanswered() {
			c.cache.Refresh(info)
		}
		return false
	case errors.As(err, &unverified), failure.IsAlert(err):
		c.cache.Invalidate(info)
	default:
		c.cache.Refresh(info)
	}
	return !failure.Over(ctx)
}

// landed is told how a refresh has ended.
func (c *connector) landed(l refresh.Landing[admin.Info]) {
	c.seen.Landed(l)
	if l.Value == nil || l.Old == nil || l.Value.SameMetadata(l.Old) {
		return
	}
	c.reach.Forget()
	c.streams.Forget()
	if !l.Value.SameAddrs(l.Old) {
		c.dials.Looks.Found()
	}
	c.dialer.dials.Moved(&c.dials, l.Value)
}

// connect opens a connection by the first address that leads to the instance.
func (c *connector) connect(ctx context.Context, info *admin.Info, t target, dc *dialConfig) (net.Conn, *Error) {
	to := reach.Target{Types: dc.types, Hosts: t.hosts, Only: t.only, Domain: t.name.domain, AnyName: t.own || c.dialer.cfg.names.unlisted, Way: &dc.tcp}
	conn, host, err := c.reach.Connect(ctx, info, &to)
	if err != nil {
		op := OpDial
		if e, ok := errors.AsType[*reach.Error](err); ok && e.Connected() {
			op = OpHandshake
		}
		return nil, c.dialer.newError(op, c.String(), err)
	}
	c.dials.Looks.Answered()
	if !c.refused.Load() {
		c.cache.Confirm(info)
	}
	return newConn(conn, c, info, location{t.dialled, t.name, host, t.own}, dc), nil
}

// accepted is told when the server has sent something over a connection made
// with info: only then it has accepted the client certificate.
func (c *connector) accepted(info *admin.Info) {
	if c.refused.Swap(false) {
		c.seen.Accepted()
		c.cache.Confirm(info)
	}
}

// rejected is told the error of a first Read and returns what the caller is to
// see. With TLS 1.3 the client's handshake is over before the server has
// looked at the client certificate, so that a refusal comes only now: as an
// alert, or as a cut connection when the alert was lost.
func (c *connector) rejected(info *admin.Info, err error) error {
	if errors.Is(err, io.EOF) {
		// It proves nothing: PostgreSQL ends the connection of every cancel
		// request like this.
		return err
	}
	var refusal *mdx.Error
	if errors.As(err, &refusal) {
		return &Error{
			Op:       OpHandshake,
			Instance: c.String(),
			Hint:     "Pass WithMetadataExchange(false): the instance does not accept what it is told about the client.",
			Err:      err,
		}
	}
	if !failure.IsAlert(err) {
		return c.unanswered(info, err)
	}
	c.refused.Store(true)
	c.seen.Rejected()
	c.cache.Invalidate(info)
	return &Error{
		Op:       OpHandshake,
		Instance: c.String(),
		Hint:     hint.Join(hint.Clock(info.ClockOffset, hint.TheAPI), "Connect again: a new client certificate is being fetched. If that is refused as well, check this machine's clock, and whether the instance has been restored or its certificates have been reset."),
		// The server has done nothing yet: database/sql may connect again.
		Err: failure.Mark(driver.ErrBadConn, fmt.Errorf("the server refuses the client certificate: %w", err)),
	}
}

// unanswered is told the error of a connection that was cut before the server
// has said anything, and returns it.
func (c *connector) unanswered(info *admin.Info, err error) error {
	c.refused.Store(true)
	c.cache.Refresh(info)
	return err
}
