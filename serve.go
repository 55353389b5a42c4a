package cloudsqlconn

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/door"
	"github.com/cloudsqlconn/cloudsqlconn/internal/engine"
	"github.com/cloudsqlconn/cloudsqlconn/internal/mdx"
	"github.com/cloudsqlconn/cloudsqlconn/internal/pgclient"
	"github.com/cloudsqlconn/cloudsqlconn/internal/pgstartup"
	"github.com/cloudsqlconn/cloudsqlconn/internal/refusal"
)

// ServeOption configures [Dialer.Serve]. Every [DialOption] is one.
type ServeOption interface {
	applyServe(*serveConfig)
}

// serveConfig is all that Serve can be told.
type serveConfig struct {
	dial     []DialOption
	maxConns int // 0: no limit
	drain    time.Duration
	errs     mistakes
}

type serveOption func(*serveConfig)

func (o serveOption) applyServe(c *serveConfig) { o(c) }

func (o dialOption) applyServe(c *serveConfig) { c.dial = append(c.dial, o) }

const defaultDrainTimeout = 30 * time.Second

// WithMaxConnections limits how many connections Serve has open at once; more are
// refused. Default, and with 0: no limit but the instance's.
func WithMaxConnections(n int) ServeOption {
	return serveOption(func(c *serveConfig) {
		c.maxConns = n
		c.errs.note(n < 0, "WithMaxConnections: want 0 or more, got %d", n)
	})
}

// WithDrainTimeout sets how long Serve, when it is to return, waits for its
// connections to end; those left after that are cut. Default, and with 0: 30 s.
// Negative: they are cut at once.
func WithDrainTimeout(d time.Duration) ServeOption {
	return serveOption(func(c *serveConfig) { c.drain = max(0, cmp.Or(d, defaultDrainTimeout)) })
}

// Serve makes l a local port for an instance, for programs that cannot use a
// Dialer: it connects each client of l, TCP or unix, to the instance. Whoever
// can connect to l is authorised as far as IAM is concerned; with IAM login no
// password is needed either. Listen on loopback, or on a unix socket that only the
// right people can open.
//
// A client that cannot be connected is told why in the protocol of PostgreSQL,
// MySQL or SQL Server; a MySQL client is told, too, when the database behind the
// instance is silent. Half-closes are propagated independently in each direction; a
// client that stays when the instance has ended the connection is cut after 2 s.
// [WithLogger] gets a record of each client that connects and of each connection
// that ends, with its byte counts, both at Info, and of each failure, at Warn, with
// the hint.
//
// A client's request to cancel a PostgreSQL query goes to every node of a read pool
// that this Serve has a connection to: which one the query runs on is not known. A
// client's IAM login to PostgreSQL is repeated, by the user and the database that its
// first message names: see [WithLoginAfterRefresh].
//
// Serve closes l and returns when ctx has ended, when the Dialer has been closed, or
// when somebody else has closed l, in which case the error is [net.ErrClosed]. Other
// failures of l may be transient: Accept is called again after a pause of up to 1 s.
// Open connections have the drain timeout to end.
func (d *Dialer) Serve(ctx context.Context, l net.Listener, name string, opts ...ServeOption) error {
	cfg := serveConfig{drain: defaultDrainTimeout}
	applyAll(opts, &cfg.errs, func(o ServeOption) { o.applyServe(&cfg) })
	if _, err := d.cfg.dial.with(cfg.dial); err != nil {
		cfg.errs = append(cfg.errs, err)
	}
	if len(cfg.errs) > 0 {
		_ = l.Close()
		return asConfigError(cfg.errs)
	}
	protocol := mdx.TCP
	if l.Addr().Network() == "unix" {
		protocol = mdx.UDS
	}
	cfg.dial = append(cfg.dial, dialOption(func(d *dialConfig) {
		d.protocol = protocol
		if d.exchange == exchangeByDrivers {
			d.exchange = exchangeAlways
		}
	}))
	if d.ctx.Err() != nil {
		_ = l.Close()
		return d.reason(name, ErrDialerClosed)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(d.ctx, cancel)()
	s := &served{d, name, cfg.dial}
	clients := pgclient.Clients{Dial: s.dial, Host: queryHost, Login: s.login}
	return (&door.Door{
		Dial:     clients.Connect,
		Refuse:   s.refuse,
		Silent:   s.silent,
		Describe: hintAttr,
		MaxConns: cfg.maxConns,
		Drain:    cfg.drain,
		Log:      d.cfg.observe.log.With(slog.String("instance", name)),
	}).Serve(ctx, l)
}

// served is the instance that clients of Serve are led to.
type served struct {
	dialer *Dialer
	name   string
	opts   []DialOption
}

// dial connects a client, or a request to cancel a query that goes where same does.
func (s *served) dial(ctx context.Context, same net.Conn) (net.Conn, error) {
	opts := s.opts
	if same != nil {
		opts = append(slices.Clip(opts), WithDialTimeout(pgclient.Timeout), WithSameHost(same))
	}
	return s.dialer.Dial(ctx, s.name, opts...)
}

// login has a client's login repeated. Should it not go well, its first repetition will
// not either, and the login is forgotten then.
func (s *served) login(conn net.Conn, user, database string) {
	if c, ok := unwrap(conn); ok && engine.ByIAM(user) {
		as, again := pgstartup.Again(user, database)
		c.repeatLogin(as, s.opts, again)
	}
}

// queryHost is the host of a connection whose queries can be cancelled by a request
// over another one; nil if there is none.
func queryHost(conn net.Conn) any {
	c, ok := unwrap(conn)
	if !ok || engine.Of(c.describe().EngineVersion) != engine.Postgres {
		return nil
	}
	at := c.location()
	if at == nil {
		return nil
	}
	return *at
}

// silent tells a client why the server has ended its connection, with err, before
// it said anything. Of PostgreSQL that is nothing to tell: it ends the connection
// of every request to cancel a query like this.
func (s *served) silent(ctx context.Context, client, server net.Conn, err error) {
	if info, _ := InfoOf(server); engine.Of(info.EngineVersion) != engine.MySQL {
		return
	}
	if err == nil {
		err = &Error{Op: OpHandshake, Instance: s.name, Hint: refusal.SilentHint, Err: errors.New("the connection was ended before the database answered")}
	}
	s.refuse(ctx, client, err)
}

// refuse tells a client why it is not connected.
func (s *served) refuse(ctx context.Context, client net.Conn, err error) {
	if _, ok := errors.AsType[*Error](err); !ok {
		err = &Error{Op: OpDial, Instance: s.name, Err: err}
	}
	_ = refusal.Tell(client, s.version(ctx), err.Error(), Hint(err)) // who has gone need not know
}

// version returns the instance's engine and version, if that is known.
func (s *served) version(ctx context.Context) string {
	if s.dialer.SQLDataMode(s.opts...) == SQLDataOnly {
		return "" // the Admin API is not asked in this way
	}
	known, cancel := context.WithCancel(ctx)
	cancel() // what is not known already is not waited for
	version, _ := s.dialer.EngineVersion(known, s.name, s.opts...)
	return version
}

// hintAttr is what the log says about a failure beside its text.
func hintAttr(err error) []slog.Attr {
	if hint := Hint(err); hint != "" {
		return []slog.Attr{slog.String("hint", hint)}
	}
	return nil
}
