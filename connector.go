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
	"github.com/cloudsqlconn/cloudsqlconn/internal/relogin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/streams"
	"github.com/cloudsqlconn/cloudsqlconn/internal/tlsverify"
)

// idleSweep is how many instances a Dialer holds before it looks for some that
// nobody dials any more.
const idleSweep = 64

// startPause bounds the pauses between looks whether an instance that is not
// ready has started, for a Dial that waits for it: with what is added to spread
// them, it is found within 5 s.
const startPause = 4 * time.Second

// idleAfter is how long a connector is kept at least after its last Dial.
const idleAfter = 15 * time.Minute

// key tells connectors apart: a certificate for IAM login is another one.
type key struct {
	name Name
	iam  bool
}

// connector is everything about one instance: what is known about it, and how
// to reach it.
type connector struct {
	key     key
	cache   *refresh.Cache[admin.Info]
	dialer  *Dialer
	dials   dialing.Instance
	reach   reach.Instance
	streams streams.Instance
	logins  *relogin.Logins
	seen    observe.Instance

	userAgent string // what a metadata exchange tells

	lastDial time.Time // guarded by Dialer.mu

	refused   atomic.Bool               // the last first Read failed: a handshake proves nothing for the time being
	rejecting atomic.Pointer[time.Time] // when the server first refused a certificate since it last accepted one; nil: it has not
	failing   atomic.Pointer[time.Time] // when a try first failed with the metadata as it is; nil: none has

	open          atomic.Int64 // connections
	read, written atomic.Int64 // bytes
}

// connector returns what knows the instance n, made at the first use.
func (d *Dialer) connector(n Name, iam bool) (*connector, error) {
	k := key{name: n, iam: iam}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.connectors == nil {
		return nil, d.reason(n.String(), ErrDialerClosed)
	}
	c := d.connectors[k]
	if c == nil {
		d.sweepLocked()
		c = d.newConnector(k)
		d.connectors[k] = c
	}
	c.lastDial = time.Now()
	return c, nil
}

// sweepLocked lets go of instances that nobody dials any more, now and then.
func (d *Dialer) sweepLocked() {
	if len(d.connectors) < d.sweepAt {
		return
	}
	for k, c := range d.connectors {
		if c.idle() {
			// Nothing is in flight; should something have begun just now, it may
			// need the lock.
			d.wg.Go(c.close)
			delete(d.connectors, k)
		}
	}
	d.sweepAt = max(idleSweep, 2*len(d.connectors))
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
	c.logins = relogin.New(d.ctx, relogin.Config{Expiry: c.loginExpiry, Told: c.seen.LoggedInAgain, Lazy: d.cfg.lazy})
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

// close ends all that goes on for the instance, and waits for that.
func (c *connector) close() {
	c.logins.Close()
	c.cache.Close()
}

// idle reports whether nobody has dialled the instance for a long time. The
// caller holds Dialer.mu.
func (c *connector) idle() bool {
	return c.open.Load() == 0 && (time.Since(c.lastDial) > idleAfter && c.cache.Idle() || c.logins.Idle(c.lastDial))
}

// dial connects. If the first try fails and newer metadata can be had, there
// is a second one; and one more if the metadata has changed meanwhile, since
// an instance that is on the move can be met on the move twice.
func (c *connector) dial(g *dialing.Dial, t target, dc *dialConfig) (net.Conn, error) {
	info, err := c.latest(g.Context)
	if err != nil {
		return nil, c.dialer.newError(OpRefresh, c.String(), err)
	}
	moving := false // the metadata has changed between two tries, or may have
	for try := 1; ; try++ {
		g.Try(&c.dials, info)
		conn, failed := c.connect(g.Context, info, t, dc)
		failedAt := time.Now()
		switch moved := g.Tried(); {
		case failed == nil:
			return conn, nil
		case moved:
			c.reach.Forget() // what the end of the try has looked like
			failed = c.dialer.newError(failed.Op, c.String(), dialing.ErrMoved)
		case !c.blame(g.Context, info, failed), try > 1 && !moving:
			return nil, failed
		}
		next := c.cache.Next
		if moving || c.unproven(info, failedAt) {
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
		moving = !newer.SameMetadata(info) || try == 1 && newer.Asked.Before(failedAt) // it may be as old as info
		info = newer
	}
}

// unproven is told when a try has failed with info, and reports whether the metadata
// may only be too old: unless it was asked for after the first such failure, the
// instance may have changed before that.
func (c *connector) unproven(info *admin.Info, failedAt time.Time) bool {
	if c.failing.CompareAndSwap(nil, &failedAt) {
		return true
	}
	first := c.failing.Load()
	return first == nil || info.Asked.Before(*first)
}

// latest returns what is known about the instance, for a Dial. If its
// certificate logs in with credentials that have been refused or looked up again
// since, another one is fetched, and serves the next Dial: this one's user has
// been chosen. If the server refuses it, and no newer one has met the same, the
// next one is waited for, for half the time that there is.
func (c *connector) latest(ctx context.Context) (*admin.Info, error) {
	info, err := c.cache.Get(ctx)
	if err != nil {
		return nil, err
	}
	if info.Login.Outdated() {
		c.cache.Refresh(info)
	}
	if first := c.rejecting.Load(); first == nil || !info.Asked.Before(*first) {
		return info, nil
	}
	deadline, _ := ctx.Deadline() // a Dial has one
	half, cancel := context.WithTimeout(ctx, time.Until(deadline)/2)
	defer cancel()
	if newer, err := c.cache.Await(half, info); err == nil {
		return newer, nil
	}
	return info, nil
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
	if l.Value != nil {
		c.logins.Refreshed(l.Value.Expiry)
	}
	if l.Value == nil || l.Old == nil || l.Value.SameMetadata(l.Old) {
		return
	}
	c.failing.Store(nil)
	c.reach.Forget()
	c.streams.Forget()
	if !l.Value.SameAddrs(l.Old) {
		c.dials.Looks.Found()
	}
	c.dialer.dials.Moved(&c.dials, l.Value)
}

// connect opens a connection by the first address that leads to the instance.
func (c *connector) connect(ctx context.Context, info *admin.Info, t target, dc *dialConfig) (net.Conn, *Error) {
	to := reach.Target{Types: dc.types, Hosts: t.Hosts, Only: t.only, Domain: t.Domain, AnyName: t.own || c.dialer.cfg.names.unlisted, Way: &dc.tcp}
	conn, host, err := c.reach.Connect(ctx, info, &to)
	if err != nil {
		op := OpDial
		if e, ok := errors.AsType[*reach.Error](err); ok && e.Connected() {
			op = OpHandshake
		}
		return nil, c.dialer.newError(op, c.String(), err)
	}
	c.dials.Looks.Answered()
	if c.failing.Load() != nil {
		c.failing.Store(nil)
	}
	if !c.refused.Load() {
		c.cache.Confirm(info)
	}
	return newConn(conn, c, info, location{t.dialled, t.Instance, t.Domain, t.own, host}, dc), nil
}

// accepted is told when the server has sent something over a connection made
// with info: only then it has accepted the client certificate.
func (c *connector) accepted(info *admin.Info) {
	if c.refused.Swap(false) {
		c.rejecting.Store(nil)
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
			Hint:     hint.RefusedExchange,
			Err:      err,
		}
	}
	if !failure.IsAlert(err) {
		return c.unanswered(info, err)
	}
	c.refused.Store(true)
	now := time.Now()
	c.rejecting.CompareAndSwap(nil, &now)
	c.seen.Rejected()
	c.cache.Invalidate(info)
	return &Error{
		Op:       OpHandshake,
		Instance: c.String(),
		Hint:     hint.RefusedCertificate(info.ClockOffset),
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

// unknown is the error of a look whose the credentials are.
func (c *connector) unknown(err error) error {
	if err == nil {
		return nil
	}
	return c.dialer.reason(c.String(), c.dialer.newError(OpRefresh, c.String(), &admin.TokenError{Err: err}))
}
