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
	"crypto"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/auth"
	"github.com/cloudsqlconn/cloudsqlconn/internal/dialing"
	"github.com/cloudsqlconn/cloudsqlconn/internal/failover"
	"github.com/cloudsqlconn/cloudsqlconn/internal/failure"
	"github.com/cloudsqlconn/cloudsqlconn/internal/kind"
	"github.com/cloudsqlconn/cloudsqlconn/internal/observe"
	"github.com/cloudsqlconn/cloudsqlconn/internal/refresh"
	"github.com/cloudsqlconn/cloudsqlconn/internal/registry"
	"github.com/cloudsqlconn/cloudsqlconn/internal/telemetry"
)

// version is this library's version, as the User-Agent tells it.
const version = "0.1.0"

// Dialer connects to Cloud SQL instances. One Dialer serves a whole process
// and any number of instances; its methods are safe for concurrent use.
type Dialer struct {
	cfg         config
	admin       *admin.Client
	credentials *auth.Credentials // nil: the caller's own token sources, or HTTP client
	resolver    resolver
	failover    *failover.Follower
	dials       dialing.Set
	connectors  *registry.Registry[key, *connector]
	telemetry   *telemetry.Telemetry
	ctx         context.Context // ends at Close
	cancel      context.CancelFunc
	wg          sync.WaitGroup // counts the making of the client key, and second ways that are opened

	pacer refresh.Pacer // of background refreshes

	closeOnce sync.Once

	mu      sync.Mutex           // guards everything below, and the end of ctx; never held over I/O
	sqlData interface{ Close() } // a *streams.Service; nil before the first Dial that asks for it
}

// NewDialer returns a Dialer. It neither uses the network nor reads a file:
// credentials are looked up at the first Dial. The error names every option
// that is wrong, and is ErrConfig. ctx is not kept and does not limit the lifetime
// of the Dialer; Close ends that.
func NewDialer(ctx context.Context, opts ...Option) (*Dialer, error) {
	cfg, err := newConfig(opts)
	if err != nil {
		return nil, err
	}
	d := &Dialer{}
	d.connectors = registry.New(d.newConnector)
	hedged := func(call string) { d.telemetry.Hedged(call) }
	api, login, creds := cfg.caller.Tokens(hedged)
	makeKey := admin.ProcessKey
	if cfg.key != nil {
		makeKey = func() (crypto.Signer, error) { return cfg.key, nil }
	}
	client, err := admin.NewClient(admin.Config{
		Endpoint:     cfg.caller.Endpoint,
		HTTPClient:   cfg.caller.HTTPClient,
		UserAgent:    cfg.userAgent,
		QuotaProject: cfg.caller.QuotaProject,
		API:          api,
		Login:        login,
		Principal:    creds.KnownEmail,
		Emulated:     cfg.caller.Emulated(),
		Hedged:       hedged,
		Key:          makeKey,
	})
	if err != nil {
		return nil, asConfigError([]error{err})
	}
	d.cfg, d.admin, d.credentials = cfg, client, creds
	switch names := &cfg.names; {
	case names.dns != nil:
		d.resolver = newDNSResolver(names.dns, client, cfg.refreshTimeout)
	case names.resolver != nil:
		d.resolver = customResolver{names.resolver}
	default:
		d.resolver = nameResolver{}
	}
	d.failover = failover.New(d.follow, cfg.names.failoverPeriod, cfg.observe.log)
	d.ctx, d.cancel = context.WithCancel(context.Background())
	if !cfg.lazy {
		d.wg.Go(func() { _, _ = makeKey() }) // the first refresh reports its error
	}
	d.telemetry = telemetry.New(telemetry.Config{
		Tracers:      cfg.observe.tracers,
		Meters:       cfg.observe.meters,
		Version:      version,
		AddressTypes: admin.AddressTypes,
		ErrorType:    kind.Type,
		Read:         d.read,
	})
	return d, nil
}

// Dial connects to an instance, named as project:region:instance. The
// connection is encrypted, and the server has proved to be that instance; the
// database protocol starts with the first byte.
//
// Dial returns when the connection is made, ctx ends or the dial timeout expires
// ([WithDialTimeout]). It waits through transient failures of the Admin API, and for
// an instance that is starting; if the API asks to be left alone for longer than ctx
// lasts, as when a quota is used up, it fails at once. When the instance cannot be
// reached, it tries again with fresh metadata. name can be a DNS name if the Dialer
// has a [WithDNSResolver]. All errors are an [*Error]. The caller closes the
// connection; closing the Dialer does not.
//
// No method of the connection waits for a Read or a Write in progress. Deadlines
// work whatever [WithDialFunc] returns, and the connection can be written to again
// after a write deadline has passed. Close takes 0.2 s at most. The connection also
// has the methods CloseWrite, ConnectionState and NetConn, as a [tls.Conn] has, and
// SyscallConn if it is over a socket: a Read of that tells whether the server has
// sent anything, such as the end of the connection, without waiting and without
// consuming it. [InfoOf] tells what is known about it.
func (d *Dialer) Dial(ctx context.Context, name string, opts ...DialOption) (net.Conn, error) {
	start := time.Now()
	ctx, span := d.telemetry.Dial(ctx)
	conn, seen, err := d.dial(ctx, name, opts)
	took := time.Since(start)
	d.telemetry.Dialed(ctx, span, seen.Instance, took, viaOf(conn, err), err)
	if err != nil {
		return nil, err
	}
	seen.Dialed(ctx, conn, took)
	return conn, nil
}

// viaOf is how a Dial has reached the instance, or has tried to.
func viaOf(conn net.Conn, err error) telemetry.Via {
	if info, ok := InfoOf(conn); ok {
		return telemetry.Via{Stream: info.SQLData, Address: cmp.Or(string(info.IPType), telemetry.ByDNSName)}
	}
	e, ok := errors.AsType[*Error](err)
	return telemetry.Via{Stream: ok && e.Op == OpStream}
}

// dial is Dial. It returns the observer of the instance too, once that is
// known.
func (d *Dialer) dial(ctx context.Context, name string, opts []DialOption) (_ net.Conn, seen observe.Instance, _ error) {
	dc, err := d.cfg.dial.with(opts)
	if err != nil {
		return nil, seen, err
	}
	g := d.dials.Begin(ctx, dc.timeout)
	defer g.End()
	t, err := d.target(g.Context, name, dc.same)
	if err != nil {
		return nil, seen, err
	}
	c, err := d.connector(t.Instance, dc.iam)
	if err != nil {
		return nil, seen, err
	}
	var conn net.Conn
	if dc.carrier != nil && dc.same == nil {
		conn, err = dc.carrier.dial(c, g, t, &dc)
	} else {
		conn, err = c.dial(g, t, &dc)
	}
	if err != nil {
		return nil, c.seen, d.reason(c.String(), err)
	}
	return conn, c.seen, nil
}

// target returns where a Dial of name leads.
func (d *Dialer) target(ctx context.Context, name string, same *location) (target, error) {
	switch {
	case same == nil:
		r, err := d.resolve(ctx, name)
		return target{Resolution: r, dialled: name}, err
	case d.ctx.Err() != nil:
		return target{}, d.reason(name, ErrDialerClosed)
	case name != same.dialled && name != same.instance.String():
		return target{}, asConfigError([]error{errors.New("WithSameHost: the connection was dialled with another name")})
	}
	return target{Resolution{Instance: same.instance, Domain: same.domain, own: same.own}, same.dialled, same.host}, nil
}

// resolve returns what name stands for.
func (d *Dialer) resolve(ctx context.Context, name string) (Resolution, error) {
	if d.ctx.Err() != nil {
		return Resolution{}, d.reason(name, ErrDialerClosed)
	}
	ctx, span := d.telemetry.Resolve(ctx)
	r, err := d.resolver.resolve(ctx, name)
	span.End(err)
	if err != nil {
		return Resolution{}, d.reason(name, d.newError(OpResolve, "", err))
	}
	if d.cfg.names.failoverPeriod == 0 && r.Domain != "" {
		d.failover.Found(r.followed())
	}
	return r, nil
}

// follow looks up a DNS name that has open connections.
func (d *Dialer) follow(ctx context.Context, domain string) (failover.Instance, error) {
	r, err := d.resolver.resolve(ctx, domain)
	return r.followed(), err
}

// bound returns ctx, ended also by the dial timeout and by Close.
func (d *Dialer) bound(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancelTimeout := context.WithTimeoutCause(ctx, timeout, failure.ErrDialTimeout)
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(d.ctx, func() { cancel(ErrDialerClosed) })
	return ctx, func() {
		stop()
		cancel(nil)
		cancelTimeout()
	}
}

// reason returns err, or ErrDialerClosed if that is why it came.
func (d *Dialer) reason(instance string, err error) error {
	if d.ctx.Err() == nil {
		return err
	}
	op := OpDial
	var e *Error
	if errors.As(err, &e) {
		op = e.Op
	}
	if _, err := ParseName(instance); err != nil {
		instance = "" // whatever it is
	}
	return &Error{Op: op, Instance: instance, Err: ErrDialerClosed}
}

// Close ends every refresh and every Dial in progress; they return
// ErrDialerClosed, as all methods do from then on. Connections stay open. Close
// returns when every refresh has ended; it can be called more than once.
func (d *Dialer) Close() error {
	d.closeOnce.Do(func() {
		d.mu.Lock()
		d.cancel()
		if d.sqlData != nil {
			d.sqlData.Close()
		}
		d.mu.Unlock()
		d.credentials.Close()
		d.dials.Close()
		d.resolver.close()
		d.failover.Close()
		d.connectors.Close()
		d.wg.Wait()
		d.admin.Close()
		d.telemetry.Close()
	})
	return nil
}

// Format prints no more than the type: a Dialer holds keys and tokens.
func (d *Dialer) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "cloudsqlconn.Dialer") }
