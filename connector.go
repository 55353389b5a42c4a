// Package cloudsqlconn connects Go programs to Google Cloud SQL.
//
// Make one [Dialer] for the whole process and call [Dialer.Dial] with the name
// of an instance, project:region:instance. It returns a net.Conn that is
// authorised by IAM, encrypted with TLS 1.3 and proven to end at that very
// instance; the database protocol starts with its first byte. The packages
// under driver/ do this for pgx and for go-sql-driver/mysql.
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
// verified, Dial asks for fresh metadata and tries once more. Every error is an
// [*Error] that says which step failed and, where there is a next step, what
// to do.
//
// There is no goroutine per connection, and none at all between refreshes.
//
// # What it does not do
//
// It does not pool connections: database/sql and pgxpool do. It does not look
// up DNS names of instances: see [Resolver]. It does not log.
//
// Package cloudsqltest emulates the cloud side for tests. Exported names and
// documented behaviour follow semantic versioning; texts of errors and hints
// can change at any time.
package cloudsqlconn

import (
	"context"
	"crypto/tls"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/refresh"
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
	key   key
	cache *refresh.Cache[admin.Info]

	lastDial time.Time // guarded by Dialer.mu

	refused atomic.Bool // the last first Read failed: a handshake proves nothing for the time being

	open          atomic.Int64 // connections
	read, written atomic.Int64 // bytes
}

func newConnector(k key, client *admin.Client, cfg *config) *connector {
	inst := admin.Instance{Project: k.name.project, Region: k.name.region, ID: k.name.instance}
	fetch := func(ctx context.Context) (*admin.Info, time.Time, error) {
		return client.Fetch(ctx, inst, k.iam)
	}
	policy := refresh.Policy{Lazy: cfg.lazy, Timeout: cfg.refreshTimeout, Judge: judge}
	return &connector{key: k, cache: refresh.New(policy, fetch)}
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

// dial connects, with a second try if the first fails and newer metadata can
// be had.
func (c *connector) dial(ctx context.Context, n Name, dc *dialConfig) (net.Conn, error) {
	info, err := c.cache.Get(ctx)
	if err != nil {
		return nil, newError(opRefresh, c.String(), err)
	}
	conn, failed := c.connect(ctx, info, n, dc, true)
	if failed == nil {
		return conn, nil
	}
	if !c.blame(ctx, info, failed) {
		return nil, failed
	}
	if conn, failed = c.tryAgain(ctx, info, n, dc, failed); failed != nil {
		return nil, failed
	}
	return conn, nil
}

// tryAgain makes the second try, with something newer than info. If the first
// did not have all the time there was, info gets the rest of it until something
// newer is there.
func (c *connector) tryAgain(ctx context.Context, info *admin.Info, n Name, dc *dialConfig, failed *Error) (net.Conn, *Error) {
	var (
		wg        sync.WaitGroup
		late      net.Conn
		lateError *Error
	)
	ctxNext, enough := context.WithCancel(ctx)
	defer enough()
	ctxLate, tooLate := context.WithCancel(ctx)
	defer tooLate()
	if errors.Is(failed, errShareUsed) {
		wg.Go(func() {
			if late, lateError = c.connect(ctxLate, info, n, dc, false); lateError == nil {
				enough()
			}
		})
	}
	newer, err := c.cache.Next(ctxNext, info)
	if err == nil {
		tooLate()
	}
	wg.Wait()
	switch {
	case late != nil:
		return late, nil
	case err == nil:
		conn, failed := c.connect(ctx, newer, n, dc, false)
		if failed != nil {
			c.blame(ctx, newer, failed)
		}
		return conn, failed
	case lateError != nil:
		return nil, lateError
	case !errors.Is(err, refresh.ErrUnchanged):
		failed.Err = oneLine{failed.Err, err}
	}
	return nil, failed
}

// blame tells the cache what a failed attempt means for info, and reports
// whether another attempt makes sense.
func (c *connector) blame(ctx context.Context, info *admin.Info, err error) bool {
	var unverified *tlsverify.Error
	switch {
	case errors.Is(err, ErrNoAddress):
		return false
	case ctx.Err() != nil && !errors.Is(context.Cause(ctx), errDialTimeout):
		return false // the caller has gone: that says nothing about the instance
	case errors.As(err, &unverified), isAlert(err):
		c.cache.Invalidate(info)
	default:
		c.cache.Refresh(info)
	}
	return ctx.Err() == nil
}

// firstShare bounds how long an address may take to accept a connection before
// fresh metadata is asked for: long enough for a SYN that is lost once and
// repeated after 1 s.
const firstShare = 2 * time.Second

// errShareUsed marks a TCP attempt that was ended before the Dial's own time
// was over, to leave some for others.
var errShareUsed = fmt.Errorf("no answer in this attempt's share of the time: %w", context.DeadlineExceeded)

// connect opens a connection to the first address that accepts one. Each gets
// its share of the time left; in a first try one more share is kept for a
// second.
func (c *connector) connect(ctx context.Context, info *admin.Info, n Name, dc *dialConfig, first bool) (net.Conn, *Error) {
	hosts := hosts(info, dc.types)
	if len(hosts) == 0 {
		return nil, newError(opDial, c.String(), noAddress(info, dc.types))
	}
	var errs oneLine
	for i, host := range hosts {
		raw, err := dialTCP(ctx, host, dc, share(ctx, len(hosts)-i, first))
		if err != nil {
			errs = append(errs, err)
			if ctx.Err() != nil {
				break
			}
			continue
		}
		conn, err := c.handshake(ctx, raw, info, n)
		if err != nil {
			return nil, newError(opHandshake, c.String(), ended(ctx, err))
		}
		return conn, nil
	}
	return nil, newError(opDial, c.String(), ended(ctx, errs))
}

// share is how long an attempt may take with so many addresses left; zero: as
// long as ctx lasts.
func share(ctx context.Context, left int, first bool) time.Duration {
	deadline, ok := ctx.Deadline()
	switch {
	case ok && first:
		return min(time.Until(deadline)/time.Duration(left+1), firstShare)
	case ok && left > 1:
		return time.Until(deadline) / time.Duration(left)
	}
	return 0
}

// dialTCP opens a TCP connection, within its share of the time if that is not
// zero.
func dialTCP(ctx context.Context, host string, dc *dialConfig, share time.Duration) (net.Conn, error) {
	if share > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, share, errShareUsed)
		defer cancel()
	}
	raw, err := dc.dialFunc(ctx, "tcp", net.JoinHostPort(host, serverPort))
	if err != nil {
		return nil, ended(ctx, err)
	}
	if tcp, ok := raw.(*net.TCPConn); ok {
		// An error means that the connection is dead; the handshake says so.
		_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: dc.keepAlive >= 0, Idle: dc.keepAlive, Interval: dc.keepAlive})
	}
	return raw, nil
}

// handshake makes raw a verified connection, or closes it.
func (c *connector) handshake(ctx context.Context, raw net.Conn, info *admin.Info, n Name) (net.Conn, error) {
	tc := tls.Client(raw, info.TLS(n.domain))
	if err := tc.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, err
	}
	if !c.refused.Load() {
		c.cache.Confirm(info)
	}
	return newConn(tc, c, info), nil
}

// accepted is told when the server has sent something over a connection made
// with info: only then it has accepted the client certificate.
func (c *connector) accepted(info *admin.Info) {
	if c.refused.Swap(false) {
		c.cache.Confirm(info)
	}
}

// rejected is told the error of a first Read and returns what the caller is to
// see. With TLS 1.3 the client's handshake is over before the server has
// looked at the client certificate, so that a refusal comes only now: as an
// alert, or as a cut connection when the alert was lost.
func (c *connector) rejected(info *admin.Info, err error) error {
	if errors.Is(err, io.EOF) {
		// An orderly end, which TLS has only after both handshakes: the
		// server has accepted the certificate and has nothing to say.
		// PostgreSQL ends the connection of a cancel request like this.
		c.accepted(info)
		return err
	}
	c.refused.Store(true)
	if !isAlert(err) {
		c.cache.Refresh(info)
		return err
	}
	c.cache.Invalidate(info)
	return &Error{
		Op:       opHandshake,
		Instance: c.String(),
		Hint:     "Connect again: a new client certificate is being fetched. If that is refused too, compare the clocks of this machine and of the instance.",
		// The server has done nothing yet: database/sql may connect again.
		Err: &causeError{driver.ErrBadConn, fmt.Errorf("the server refuses the client certificate: %w", err)},
	}
}

// isAlert reports whether err is a TLS alert that the other side sent.
func isAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error" // how crypto/tls marks them
}

// ended returns err, with the reason why ctx ended if it has.
func ended(ctx context.Context, err error) error {
	if ctx.Err() == nil || errors.Is(err, context.Cause(ctx)) {
		return err
	}
	return oneLine{context.Cause(ctx), err}
}

// hosts are the instance's addresses of the wanted types, in that order.
func hosts(info *admin.Info, types []IPType) []string {
	if len(types) == 1 {
		return info.Addrs[types[0].String()]
	}
	var hosts []string
	for _, t := range types {
		hosts = append(hosts, info.Addrs[t.String()]...)
	}
	return hosts
}

func noAddress(info *admin.Info, types []IPType) error {
	var has []IPType
	for _, t := range allIPTypes {
		if len(info.Addrs[t.String()]) > 0 {
			has = append(has, t)
		}
	}
	slices.Sort(has)
	return &causeError{ErrNoAddress, fmt.Errorf("the instance has no address of the types %v; it has %v", types, has)}
}
