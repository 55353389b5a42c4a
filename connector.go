// Package cloudsqlconn connects Go programs to Google Cloud SQL.
//
// Make one [Dialer] for the whole process and call [Dialer.Dial] with the name
// of an instance, project:region:instance. It returns a net.Conn that is
// authorised by IAM, encrypted with TLS 1.3 and proven to end at that very
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
// A certificate that still lives is served whatever happens to the Admin API.
// Transient failures are waited for while the caller's context lasts; refusals
// are remembered and told at once. When an instance cannot be reached or
// verified, Dial asks for fresh metadata and tries again. Every error is an
// [*Error] that says which step failed and, where there is a next step, what
// to do.
//
// There is no goroutine per connection, and none at all between refreshes.
//
// # What it does not do
//
// It does not pool connections: database/sql and pgxpool do. It looks up DNS
// names only when it is told to: see [WithDNSResolver]. It logs nothing without
// [WithLogger]; spans and metrics go to OpenTelemetry's global providers, which
// drop them until the program sets others: see [WithTracerProvider].
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
	"github.com/cloudsqlconn/cloudsqlconn/internal/mdx"
	"github.com/cloudsqlconn/cloudsqlconn/internal/refresh"
	"github.com/cloudsqlconn/cloudsqlconn/internal/tlsconn"
	"github.com/cloudsqlconn/cloudsqlconn/internal/tlsverify"
)

// serverPort is where every instance's server-side proxy listens, whatever the
// engine.
const serverPort = "3307"

// idleAfter is how long a connector is kept at least after its last Dial.
const idleAfter = 15 * time.Minute

// connector is everything about one instance: what is known about it, and how
// to reach it.
type connector struct {
	key      key
	cache    *refresh.Cache[admin.Info]
	nodes    nodes // of a read pool
	failover *failover
	seen     observer

	userAgent string // what a metadata exchange tells

	lastDial time.Time // guarded by Dialer.mu

	refused atomic.Bool  // the last first Read failed: a handshake proves nothing for the time being
	looked  atomic.Int64 // when a slow try last asked for metadata in vain, in Unix nanoseconds

	open          atomic.Int64 // connections
	read, written atomic.Int64 // bytes
}

func (d *Dialer) newConnector(k key) *connector {
	inst := admin.Instance{Project: k.name.project, Region: k.name.region, ID: k.name.instance}
	c := &connector{key: k, failover: d.failover, seen: d.newObserver(k), userAgent: d.cfg.userAgent}
	fetch := func(ctx context.Context) (*admin.Info, time.Time, error) {
		c.seen.refreshing(ctx)
		return d.admin.Fetch(ctx, inst, k.iam)
	}
	policy := refresh.Policy{Lazy: d.cfg.lazy, Timeout: d.cfg.refreshTimeout, Judge: judge, Pacer: &d.pacer}
	c.cache = refresh.New(policy, fetch)
	c.cache.Observe(refresh.Hooks[admin.Info]{
		Waiting: func(ctx context.Context) func(error) { return c.seen.Wait(ctx).End },
		Landed:  c.seen.refreshed,
	})
	return c
}

// String returns the instance's name.
func (c *connector) String() string { return c.key.name.String() }

// judge says what a failed refresh means for the next one.
func judge(err error) refresh.Verdict {
	return refresh.Verdict{Terminal: admin.Terminal(err), RetryAfter: admin.RetryAfter(err, time.Now())}
}

// idle reports whether nobody has dialled the instance for a long time. The
// caller holds Dialer.mu.
func (c *connector) idle() bool {
	return time.Since(c.lastDial) > idleAfter && c.open.Load() == 0 && c.cache.Idle()
}

// dial connects. If the first try fails and newer metadata can be had, there
// is a second one; and one more if the metadata has changed meanwhile, since
// an instance that is on the move can be met on the move twice.
func (c *connector) dial(g *dialing, t target, dc *dialConfig) (net.Conn, error) {
	info, err := c.latest(g.ctx)
	if err != nil {
		return nil, newError(opRefresh, c.String(), err)
	}
	stopLooking := g.lookIfSlow(c, info)
	conn, failed := c.connect(g.ctx, info, t, dc)
	stopLooking()
	if g.moved {
		g.renew()
		if failed != nil {
			failed = newError(failed.Op, c.String(), errMoved)
		}
	}
	ctx := g.ctx
	moving := false // the metadata has changed between two tries
	for try := 1; failed != nil; try++ {
		if !c.blame(ctx, info, failed) || (try > 1 && !moving) {
			return nil, failed
		}
		next := c.cache.Next
		if moving {
			next = c.cache.Await
		}
		newer, err := next(ctx, info)
		if errors.Is(err, refresh.ErrUnchanged) {
			return nil, failed
		}
		if err != nil {
			return nil, newError(failed.Op, c.String(), oneLine{failed.Err, err})
		}
		c.seen.again(ctx, failed)
		conn, failed = c.connect(ctx, newer, t, dc)
		moving = !newer.SameMetadata(info)
		info = newer
	}
	return conn, nil
}

// mostShare bounds the share of the time that an address gets before the next
// is tried.
const mostShare = 5 * time.Second

// blame tells the cache what a failed try means for info, and reports whether
// another one makes sense.
func (c *connector) blame(ctx context.Context, info *admin.Info, err error) bool {
	var unverified *tlsverify.Error
	switch {
	case errors.Is(err, ErrNoAddress):
		return false
	case over(ctx) && !errors.Is(context.Cause(ctx), errDialTimeout):
		return false // the caller has gone: that says nothing about the instance
	case errors.As(err, &unverified), isAlert(err):
		c.cache.Invalidate(info)
	default:
		c.cache.Refresh(info)
	}
	return !over(ctx)
}

// connect opens a connection to the first address that leads to the instance.
// Each but the last gets its share of the time left.
func (c *connector) connect(ctx context.Context, info *admin.Info, t target, dc *dialConfig) (net.Conn, *Error) {
	addrs := append(t.hosts, c.addresses(info, dc.types)...)
	if len(addrs) == 0 {
		return nil, newError(opDial, c.String(), noAddress(info, dc.types))
	}
	var failed []*attempt
	op := opDial
	for i, host := range addrs {
		conn, err := c.connectTo(ctx, host, len(addrs)-i, info, t.name, dc)
		if err == nil {
			return conn, nil
		}
		if len(info.Nodes) > 0 && !over(ctx) {
			c.nodes.failed(host)
		}
		failed = append(failed, err)
		if err.step == stepTLS {
			op = opHandshake
		}
		if over(ctx) {
			break
		}
	}
	return nil, newError(op, c.String(), ended(ctx, &unreachable{attempts: failed, others: otherTypes(info, dc.types)}))
}

// errShareUsed is the cause of a context that ended to leave time for other
// addresses.
var errShareUsed = fmt.Errorf("no answer in this address's share of the time: %w", context.DeadlineExceeded)

// connectTo opens a connection to one of so many addresses that are left.
func (c *connector) connectTo(ctx context.Context, host string, left int, info *admin.Info, n Name, dc *dialConfig) (net.Conn, *attempt) {
	if deadline, ok := ctx.Deadline(); ok && left > 1 {
		var cancel context.CancelFunc
		share := min(time.Until(deadline)/time.Duration(left), mostShare)
		ctx, cancel = context.WithTimeoutCause(ctx, share, errShareUsed)
		defer cancel()
	}
	start, addr := time.Now(), net.JoinHostPort(host, serverPort)
	fail := func(step string, err error) (net.Conn, *attempt) {
		a := &attempt{kind: kindOf(host, info, n), addr: addr, step: step, took: time.Since(start), clockOffset: info.ClockOffset, err: err}
		if over(ctx) && errors.Is(context.Cause(ctx), errShareUsed) {
			a.cut = errShareUsed
		}
		return nil, a
	}
	dialCtx, span := c.seen.Connect(ctx, host, serverPortNumber)
	raw, err := dc.open(dialCtx, addr)
	if err == nil {
		span.Peer(raw.RemoteAddr())
	}
	span.End(err)
	if err != nil {
		return fail(stepTCP, err)
	}
	dialCtx, span = c.seen.Handshake(ctx, host, serverPortNumber)
	conn, err := c.handshake(dialCtx, raw, info, n, dc)
	span.End(err)
	if err != nil {
		return fail(stepTLS, err)
	}
	return conn, nil
}

// handshake makes raw a verified connection, or closes it.
func (c *connector) handshake(ctx context.Context, raw net.Conn, info *admin.Info, n Name, dc *dialConfig) (net.Conn, error) {
	tc := tlsconn.Client(raw, info.TLS(n.domain))
	if err := tc.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("the other side ended the connection: %w", err)
		}
		return nil, err
	}
	if !c.refused.Load() {
		c.cache.Confirm(info)
	}
	return newConn(tc, c, info, n, dc), nil
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
			Op:       opHandshake,
			Instance: c.String(),
			Hint:     "Pass WithMetadataExchange(false): the instance does not accept what it is told about the client.",
			Err:      err,
		}
	}
	c.refused.Store(true)
	if !isAlert(err) {
		c.cache.Refresh(info)
		return err
	}
	c.seen.refused()
	c.cache.Invalidate(info)
	return &Error{
		Op:       opHandshake,
		Instance: c.String(),
		Hint:     joinHints(clockHint(info.ClockOffset, theAPI), "Connect again: a new client certificate is being fetched. If that is refused too, look whether this machine's clock is right, and whether the instance has been restored or its certificates were reset."),
		// The server has done nothing yet: database/sql may connect again.
		Err: &causeError{driver.ErrBadConn, fmt.Errorf("the server refuses the client certificate: %w", err)},
	}
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
