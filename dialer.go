package cloudsqlconn

import (
	"context"
	"crypto"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/auth"
	"github.com/cloudsqlconn/cloudsqlconn/internal/refresh"
	"github.com/cloudsqlconn/cloudsqlconn/internal/telemetry"
)

// version is this library's version, as the User-Agent tells it.
const version = "0.1.0"

// idleSweep is how many instances a Dialer holds before it looks for some that
// nobody dials any more.
const idleSweep = 64

// Dialer connects to Cloud SQL instances. One Dialer serves a whole process
// and any number of instances; its methods are safe for concurrent use.
type Dialer struct {
	cfg         config
	admin       *admin.Client
	credentials *auth.Credentials // nil: the caller's own token sources, or HTTP client
	resolver    resolver
	failover    *failover
	telemetry   *telemetry.Telemetry
	ctx         context.Context // ends at Close
	cancel      context.CancelFunc
	wg          sync.WaitGroup // counts the making of the client key, and connectors that are let go

	pacer refresh.Pacer // of background refreshes

	closeOnce sync.Once

	mu         sync.Mutex                 // guards everything below; never held over I/O
	connectors map[key]*connector         // nil after Close
	dials      map[*dialing]bool          // in progress
	sweepAt    int                        // number of connectors at which to look for idle ones
	sqlData    interface{ closeLocked() } // a *service; nil before the first Dial that asks for it
}

// key tells connectors apart: a certificate for IAM login is another one.
type key struct {
	name Name // without domain: two names of one instance share a connector
	iam  bool
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
	d := &Dialer{connectors: map[key]*connector{}, dials: map[*dialing]bool{}, sweepAt: idleSweep}
	hedged := func(call string) { d.telemetry.Hedged(call) }
	api, login, creds := cfg.tokenSources(hedged)
	makeKey := admin.ProcessKey
	if cfg.key != nil {
		makeKey = func() (crypto.Signer, error) { return cfg.key, nil }
	}
	client, err := admin.NewClient(admin.Config{
		Endpoint:     cfg.endpoint,
		HTTPClient:   cfg.httpClient,
		UserAgent:    cfg.userAgent,
		QuotaProject: cfg.quotaProject,
		API:          api,
		Login:        login,
		Principal:    creds.KnownEmail,
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
	d.failover = newFailover(d.resolver, cfg.names.failoverPeriod, cfg.observe.log)
	d.ctx, d.cancel = context.WithCancel(context.Background())
	if !cfg.lazy {
		d.wg.Go(func() { _, _ = makeKey() }) // the first refresh reports its error
	}
	d.telemetry = telemetry.New(telemetry.Config{
		Tracers:   cfg.observe.tracers,
		Meters:    cfg.observe.meters,
		Version:   version,
		ErrorType: errorType,
		Read:      d.read,
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
// consuming it.
func (d *Dialer) Dial(ctx context.Context, name string, opts ...DialOption) (net.Conn, error) {
	start := time.Now()
	ctx, span := d.telemetry.Dial(ctx)
	conn, seen, err := d.dial(ctx, name, opts)
	took := time.Since(start)
	d.telemetry.Dialed(ctx, span, seen.Instance, took, viaOf(conn, err), err)
	if err != nil {
		return nil, err
	}
	seen.dialed(ctx, conn, took)
	return conn, nil
}

// viaOf is how a Dial has reached the instance, or has tried to.
func viaOf(conn net.Conn, err error) telemetry.Via {
	switch c := conn.(type) {
	case interface{ stream() }:
		return telemetry.Via{Stream: true}
	case interface{ addressType() string }:
		return telemetry.Via{Address: c.addressType()}
	}
	e, ok := errors.AsType[*Error](err)
	return telemetry.Via{Stream: ok && e.Op == OpStream}
}

// dial is Dial. It returns the observer of the instance too, once that is
// known.
func (d *Dialer) dial(ctx context.Context, name string, opts []DialOption) (_ net.Conn, seen observer, _ error) {
	dc, err := d.cfg.dial.with(opts)
	if err != nil {
		return nil, seen, err
	}
	g := d.begin(ctx, dc.timeout)
	defer g.end()
	t, err := d.target(g.ctx, name, dc.same)
	if err != nil {
		return nil, seen, err
	}
	c, err := d.connector(t.name, dc.iam)
	if err != nil {
		return nil, seen, err
	}
	var conn net.Conn
	if dc.way != nil && dc.same == nil {
		conn, err = dc.way.dial(c, g, t, &dc)
	} else {
		conn, err = c.dial(g, t, &dc)
	}
	if err != nil {
		return nil, c.seen, d.reason(c.String(), err)
	}
	return conn, c.seen, nil
}

// Warmup gets an instance's metadata and certificate, so that the first Dial
// with the same options need not wait for them.
//
// With SQLDataOnly there is neither, and Warmup gets an access token. A Dialer that
// has learnt that SQL Data does not serve the instance forgets it.
func (d *Dialer) Warmup(ctx context.Context, name string, opts ...DialOption) error {
	return d.about(ctx, name, opts, func(ctx context.Context, c *connector, dc *dialConfig) error {
		c.streams.unserved.Store(nil)
		if dc.sqlData == SQLDataOnly {
			_, err := d.streamToken(ctx)
			return err
		}
		_, err := c.cache.Get(ctx)
		return err
	})
}

// EngineVersion returns the instance's database engine and version, as the
// Admin API spells them: POSTGRES_16, MYSQL_8_0, SQLSERVER_2022_STANDARD. New
// ones can appear at any time; look at the prefix.
func (d *Dialer) EngineVersion(ctx context.Context, name string, opts ...DialOption) (string, error) {
	info, err := d.info(ctx, name, opts)
	if err != nil {
		return "", err
	}
	return info.DatabaseVersion, nil
}

// InnerTLS returns the configuration of a TLS session that the database itself
// speaks inside the tunnel, as SQL Server can be set to. It verifies the server as
// the tunnel's does, against the server CA that the metadata names now, so ask for
// it for every connection.
func (d *Dialer) InnerTLS(ctx context.Context, name string, opts ...DialOption) (*tls.Config, error) {
	info, err := d.info(ctx, name, opts)
	if err != nil {
		return nil, err
	}
	return info.InnerTLS(), nil
}

// CheckDialOptions returns the error of a Dial with opts that nothing can be done
// about but to write them differently: ErrConfig. Driver packages call it, so that
// their constructors fail, and not the first query.
func (d *Dialer) CheckDialOptions(opts ...DialOption) error {
	dc, err := d.cfg.dial.with(opts)
	if err == nil {
		err = asConfigError(d.cfg.credentialFaults(dc.iam && dc.sqlData != SQLDataOnly))
	}
	return err
}

// IAMAuthN reports whether a Dial with opts logs in with the caller's IAM
// identity. Driver packages call it to put the user's name into the right form.
func (d *Dialer) IAMAuthN(opts ...DialOption) bool {
	dc, err := d.cfg.dial.with(opts)
	return err == nil && dc.iam
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

// Close ends every refresh and every Dial in progress; they return
// ErrDialerClosed, as all methods do from then on. Connections stay open. Close
// returns when every refresh has ended; it can be called more than once.
func (d *Dialer) Close() error {
	d.closeOnce.Do(func() {
		d.mu.Lock()
		connectors := d.connectors
		d.connectors = nil
		d.cancel()
		d.credentials.Close()
		for g := range d.dials {
			g.cancel()
		}
		if d.sqlData != nil {
			d.sqlData.closeLocked()
		}
		d.mu.Unlock()
		d.resolver.close()
		d.failover.close()
		for _, c := range connectors {
			c.logins.stop()
			c.cache.Close()
		}
		d.wg.Wait()
		d.admin.Close()
		d.telemetry.Close()
	})
	return nil
}

// Format prints no more than the type: a Dialer holds keys and tokens.
func (d *Dialer) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "cloudsqlconn.Dialer") }

// about calls f with what knows the instance, for no longer than a Dial with opts
// may take.
func (d *Dialer) about(ctx context.Context, name string, opts []DialOption, f func(context.Context, *connector, *dialConfig) error) error {
	dc, err := d.cfg.dial.with(opts)
	if err != nil {
		return err
	}
	ctx, cancel := d.bound(ctx, dc.timeout)
	defer cancel()
	t, err := d.resolve(ctx, name)
	if err != nil {
		return err
	}
	c, err := d.connector(t.name, dc.iam)
	if err != nil {
		return err
	}
	if err := f(ctx, c, &dc); err != nil {
		return d.reason(c.String(), d.newError(OpRefresh, c.String(), err))
	}
	return nil
}

func (d *Dialer) info(ctx context.Context, name string, opts []DialOption) (info *admin.Info, err error) {
	err = d.about(ctx, name, opts, func(ctx context.Context, c *connector, _ *dialConfig) error {
		info, err = c.cache.Get(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return info, nil
}

// resolve returns what name stands for.
func (d *Dialer) resolve(ctx context.Context, name string) (target, error) {
	if d.ctx.Err() != nil {
		return target{}, d.reason(name, ErrDialerClosed)
	}
	ctx, span := d.telemetry.Resolve(ctx)
	t, err := d.resolver.resolve(ctx, name)
	span.End(err)
	if err != nil {
		return target{}, d.reason(name, d.newError(OpResolve, "", err))
	}
	if d.cfg.names.failoverPeriod == 0 && t.name.domain != "" {
		d.failover.found(t.name)
	}
	return t, nil
}

// connector returns what knows the instance n, made at the first use.
func (d *Dialer) connector(n Name, iam bool) (*connector, error) {
	k := key{name: n, iam: iam}
	k.name.domain = ""

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
			c.logins.stop()
			d.wg.Go(c.cache.Close)
			delete(d.connectors, k)
		}
	}
	d.sweepAt = max(idleSweep, 2*len(d.connectors))
}

// bound returns ctx, ended also by the dial timeout and by Close.
func (d *Dialer) bound(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancelTimeout := context.WithTimeoutCause(ctx, timeout, errDialTimeout)
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
