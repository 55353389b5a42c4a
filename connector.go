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
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/foreign"
	"github.com/cloudsqlconn/cloudsqlconn/internal/mdx"
	"github.com/cloudsqlconn/cloudsqlconn/internal/reach"
	"github.com/cloudsqlconn/cloudsqlconn/internal/refresh"
	"github.com/cloudsqlconn/cloudsqlconn/internal/tlsconn"
	"github.com/cloudsqlconn/cloudsqlconn/internal/tlsverify"
)

// serverPort is where every instance's server-side proxy listens, whatever the
// engine.
const serverPort = "3307"

// startPause bounds the pauses between looks whether an instance that is not
// ready has started, for a Dial that waits for it: with what is added to spread
// them, it is found within 5 s.
const startPause = 4 * time.Second

// idleAfter is how long a connector is kept at least after its last Dial.
const idleAfter = 15 * time.Minute

// connector is everything about one instance: what is known about it, and how
// to reach it.
type connector struct {
	key      key
	cache    *refresh.Cache[admin.Info]
	dialer   *Dialer
	memory   reach.Memory  // which addresses have led nowhere
	turns    atomic.Uint32 // of a read pool's nodes
	looks    looks
	streams  streams
	logins   logins // that are repeated
	failover *failover
	seen     observer

	userAgent string // what a metadata exchange tells

	lastDial time.Time // guarded by Dialer.mu

	refused atomic.Bool // the last first Read failed: a handshake proves nothing for the time being

	open          atomic.Int64 // connections
	read, written atomic.Int64 // bytes
}

func (d *Dialer) newConnector(k key) *connector {
	inst := admin.Instance{Project: k.name.project, Region: k.name.region, ID: k.name.instance}
	c := &connector{key: k, dialer: d, failover: d.failover, seen: d.newObserver(k), userAgent: d.cfg.userAgent}
	fetch := func(ctx context.Context) (*admin.Info, time.Time, error) {
		c.seen.refreshing(ctx)
		return d.admin.Fetch(traced(ctx), inst, k.iam)
	}
	policy := refresh.Policy{Lazy: d.cfg.lazy, Timeout: d.cfg.refreshTimeout, Judge: judge, Pacer: &d.pacer}
	c.cache, c.logins.connector = refresh.New(policy, fetch), c
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
	return c.open.Load() == 0 && (time.Since(c.lastDial) > idleAfter && c.cache.Idle() || c.logins.idle(c.lastDial))
}

// dial connects. If the first try fails and newer metadata can be had, there
// is a second one; and one more if the metadata has changed meanwhile, since
// an instance that is on the move can be met on the move twice.
func (c *connector) dial(g *dialing, t target, dc *dialConfig) (net.Conn, error) {
	info, err := c.latest(g.ctx)
	if err != nil {
		return nil, c.dialer.newError(OpRefresh, c.String(), err)
	}
	moving := false // the metadata has changed between two tries
	for try := 1; ; try++ {
		g.try(c, info)
		conn, failed := c.connect(g.ctx, info, t, dc)
		moved := g.tried()
		switch {
		case failed == nil:
			return conn, nil
		case moved:
			c.memory.Forget() // what the end of the try has looked like
			failed = c.dialer.newError(failed.Op, c.String(), errMoved)
		case !c.blame(g.ctx, info, failed), try > 1 && !moving:
			return nil, failed
		}
		next := c.cache.Next
		if moving {
			next = c.cache.Await
		}
		newer, err := next(g.ctx, info)
		if errors.Is(err, refresh.ErrUnchanged) {
			return nil, failed
		}
		if err != nil {
			return nil, c.dialer.newError(failed.Op, c.String(), oneLine{failed.Err, err})
		}
		c.seen.again(g.ctx, failed)
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
	case over(ctx) && !errors.Is(context.Cause(ctx), errDialTimeout):
		// The caller has gone, which says nothing about the instance. That no
		// answer came until then does: it helps the next one.
		if failed, ok := errors.AsType[*unreachable](err); ok && failed.silent() && c.looks.unanswered() {
			c.cache.Refresh(info)
		}
		return false
	case errors.As(err, &unverified), isAlert(err):
		c.cache.Invalidate(info)
	default:
		c.cache.Refresh(info)
	}
	return !over(ctx)
}

// landed is told how a refresh has ended.
func (c *connector) landed(l refresh.Landing[admin.Info]) {
	c.seen.refreshed(l)
	if l.Value != nil {
		c.logins.refreshed(l.Value.Expiry)
	}
	if l.Value == nil || l.Old == nil || l.Value.SameMetadata(l.Old) {
		return
	}
	c.memory.Forget()
	c.streams.unserved.Store(nil)
	if !l.Value.SameAddrs(l.Old) {
		c.looks.found()
	}
	c.dialer.moved(c, l.Value)
}

// connect opens a connection by the first address that leads to the instance.
// Addresses are tried one beside the other, but TLS only on one at a time.
func (c *connector) connect(ctx context.Context, info *admin.Info, t target, dc *dialConfig) (net.Conn, *Error) {
	hosts, fresh := c.candidates(info, t, dc.types)
	if len(hosts) == 0 {
		return nil, c.dialer.newError(OpDial, c.String(), noAddress(info, dc.types))
	}
	race := reach.New(ctx, hosts, fresh, func(ctx context.Context, host string) (net.Conn, error) { return c.openTCP(ctx, host, dc) })
	race.Prompt = !dc.foreign
	defer race.Stop()
	var (
		failed []*attempt
		astray []string // hosts at which another server answers
		op     = OpDial
	)
	for try, more := race.Next(); more; try, more = race.Next() {
		step := stepTCP
		if try.Err == nil {
			try = race.Use(try, func(ctx context.Context, try reach.Try) (net.Conn, error) {
				return c.secure(ctx, try, info, location{t.dialled, t.name, try.Host, t.own}, dc)
			})
			if try.Err == nil {
				c.memory.Defer(reach.Rest, append(astray, race.Unanswered()...)...)
				c.seen.overtaken(ctx, race.Unanswered(), try.Host)
				c.memory.Good(try.Host)
				c.looks.answered()
				return try.Conn, nil
			}
			step, op, astray = stepTLS, OpHandshake, append(astray, try.Host)
		}
		switch {
		case try.Silent && try.Took >= minSlow:
			c.memory.Defer(reach.Rest, try.Host)
		case len(info.Nodes) > 0 && !over(ctx):
			c.memory.Defer(nodeRest, try.Host)
		}
		failed = append(failed, newAttempt(try, step, info, t.name))
	}
	slices.SortFunc(failed, func(a, b *attempt) int { return cmp.Compare(a.nth, b.nth) })
	return nil, c.dialer.newError(op, c.String(), ended(ctx, &unreachable{attempts: failed, others: otherTypes(info, dc.types)}))
}

// openTCP opens the TCP connection to a host.
func (c *connector) openTCP(ctx context.Context, host string, dc *dialConfig) (net.Conn, error) {
	ctx, span := c.seen.Connect(ctx, host, serverPortNumber)
	conn, err := dc.open(ctx, net.JoinHostPort(host, serverPort))
	if err == nil {
		span.Peer(conn.RemoteAddr())
	}
	span.End(err)
	return conn, err
}

// secure makes the connection of a try a verified one, or closes it.
func (c *connector) secure(ctx context.Context, try reach.Try, info *admin.Info, at location, dc *dialConfig) (net.Conn, error) {
	ctx, span := c.seen.Handshake(ctx, try.Host, serverPortNumber)
	conn, err := c.handshake(ctx, try.Conn, info, at, dc)
	span.End(err)
	return conn, err
}

// shakeHands makes conn a TLS connection. A key of the program's own may sign
// somewhere else, and not come back.
func (d *Dialer) shakeHands(ctx context.Context, conn interface{ HandshakeContext(context.Context) error }) error {
	switch d.cfg.key.(type) {
	case nil, *rsa.PrivateKey, *ecdsa.PrivateKey, ed25519.PrivateKey:
		return conn.HandshakeContext(ctx)
	}
	_, err := foreign.Call(ctx, func() (struct{}, error) { return struct{}{}, conn.HandshakeContext(ctx) })
	return err
}

// handshake makes raw a verified connection, or closes it.
func (c *connector) handshake(ctx context.Context, raw net.Conn, info *admin.Info, at location, dc *dialConfig) (net.Conn, error) {
	tc := tlsconn.Client(raw, info.TLS(at.name.domain, at.own || c.dialer.cfg.names.unlisted))
	if err := c.dialer.shakeHands(ctx, tc); err != nil {
		_ = raw.Close()
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("the other side ended the connection: %w", err)
		}
		return nil, err
	}
	if !c.refused.Load() {
		c.cache.Confirm(info)
	}
	return newConn(tc, c, info, at, dc), nil
}

// accepted is told when the server has sent something over a connection made
// with info: only then it has accepted the client certificate.
func (c *connector) accepted(info *admin.Info) {
	if c.refused.Swap(false) {
		c.seen.accepted()
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
	if !isAlert(err) {
		return c.unanswered(info, err)
	}
	c.refused.Store(true)
	c.seen.refused()
	c.cache.Invalidate(info)
	return &Error{
		Op:       OpHandshake,
		Instance: c.String(),
		Hint:     joinHints(clockHint(info.ClockOffset, theAPI), "Connect again: a new client certificate is being fetched. If that is refused as well, check this machine's clock, and whether the instance has been restored or its certificates have been reset."),
		// The server has done nothing yet: database/sql may connect again.
		Err: &causeError{driver.ErrBadConn, fmt.Errorf("the server refuses the client certificate: %w", err)},
	}
}

// unanswered is told the error of a connection that was cut before the server
// has said anything, and returns it.
func (c *connector) unanswered(info *admin.Info, err error) error {
	c.refused.Store(true)
	c.cache.Refresh(info)
	return err
}

// isAlert reports whether err is a TLS alert that the other side sent.
func isAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error" // how crypto/tls marks them
}

// over reports whether ctx has ended. A socket's deadline, taken from ctx, can
// fire a moment before ctx itself.
func over(ctx context.Context) bool {
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		<-ctx.Done()
	}
	return ctx.Err() != nil
}

// ended returns err, with the reason why ctx ended if it has.
func ended(ctx context.Context, err error) error {
	if !over(ctx) || errors.Is(err, context.Cause(ctx)) {
		return err
	}
	return oneLine{context.Cause(ctx), err}
}
