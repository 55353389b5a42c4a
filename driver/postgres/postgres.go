// Package postgres connects pgx to Cloud SQL for PostgreSQL: through
// database/sql ([NewConnector], [RegisterDriver]), through a pgxpool.Pool
// ([NewPool], or [ConfigurePool] for a configuration of your own), or through any pgx
// configuration ([Configure]).
//
// The host in a data source name is the instance:
//
//	host=project:region:instance user=app password=secret dbname=shop
//	postgres://app:secret@/shop?host=project:region:instance
//
// Everything else in it is pgx's, service files, password files and PG*
// environment variables included. There can be several hosts, such as a primary
// instance and its read replica, with target_session_attrs; each is an instance of
// its own, and is dialled when its turn comes. Requests to cancel a query go to the
// host that the query runs on; in a read pool, to the same node. The Raw method of a
// sql.Conn gives the *stdlib.Conn of pgx.
//
// With IAM login the user can be given as an e-mail address, and needs no
// password; the default is the service account that the Dialer's credentials belong
// to. A user who is named is used, even the operating system's.
//
// Managed connection pooling refuses IAM logins, with SQLSTATE 08P01, when the login
// token has expired that it has seen last for the user and the database. So that it
// has seen a newer one by then, logins that went well are repeated in the background:
// see [cloudsqlconn.WithLoginAfterRefresh], which also turns that off. If a login is
// refused nevertheless, as after a week without one, database/sql connects again, and
// succeeds; a pool of pgx returns the error.
//
// Three parameters of a data source name are for the Dialer:
// cloudsql_ip_types=PRIVATE,PUBLIC means [cloudsqlconn.WithIPTypes],
// cloudsql_iam_authn=true means [cloudsqlconn.WithIAMAuthN], and
// cloudsql_sql_data=prefer (or never, or only) means [cloudsqlconn.WithSQLData].
//
// # Settings for a direct connection
//
// The connection runs inside the Dialer's TLS tunnel, which has verified the
// server, and PostgreSQL's own TLS is off inside it. Settings about that in data
// source names, service files and the environment, and others that have no meaning
// here, do no harm:
//
//	port, PGPORT, hostaddr                 ignored
//	sslmode, PGSSLMODE                     ignored, but pgx insists on one of its values
//	sslrootcert, sslcert, sslkey,          not read, nor the files in ~/.postgresql;
//	PGSSLROOTCERT, PGSSLCERT, PGSSLKEY     by the time of Configure pgx has read them
//	sslpassword, sslsni, sslnegotiation,   ignored
//	sslcertmode, and their variables
//	sslcrl, sslcompression, ssl_min_       ignored, as are ssl_max_protocol_version,
//	protocol_version                       sslcrldir, sslkeylogfile and requiressl
//	channel_binding, PGCHANNELBINDING      ignored: there is no PostgreSQL TLS to bind to
//	require_auth, PGREQUIREAUTH            applies to passwords; ErrConfig if no password can
//	                                       satisfy it, as with gss; ignored with IAM login
//	gssencmode, gssdelegation, gsslib,     ignored
//	requirepeer
//	keepalives, keepalives_idle, ...,      ignored; see cloudsqlconn.WithTCPKeepAlive
//	tcp_user_timeout
//	load_balance_hosts                     random: the hosts are tried in random order;
//	                                       ErrConfig with Configure
//	connect_timeout                        used, for each host; see NewPool
//	everything else                        as in pgx
package postgres

import (
	"context"
	"database/sql/driver"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/driver/internal/heard"
	"github.com/cloudsqlconn/cloudsqlconn/driver/internal/pgconfig"
	"github.com/cloudsqlconn/cloudsqlconn/driver/internal/pgtunnel"
	"github.com/cloudsqlconn/cloudsqlconn/driver/internal/sqldriver"
)

// form is the hint of what is wrong with a data source name.
const form = "Write it as host=project:region:instance user=app password=secret dbname=shop, or as postgres://app:secret@/shop?host=project:region:instance; the documentation of driver/postgres lists what else there can be."

// NewConnector returns a connector for sql.OpenDB that connects through d.
// Nothing is registered, and it remains up to the caller to close d. Every error is
// a [*cloudsqlconn.Error] of the step configure: ErrBadName or ErrConfig.
func NewConnector(d *cloudsqlconn.Dialer, dsn string, opts ...cloudsqlconn.DialOption) (driver.Connector, error) {
	return sqldriver.NewConnector(dsn, func(dsn string) (sqldriver.Opener, error) { return newConnector(d, dsn, opts) })
}

func newConnector(d *cloudsqlconn.Dialer, dsn string, opts []cloudsqlconn.DialOption) (sqldriver.Opener, error) {
	cfg, err := pgconfig.Parse(pgx.ParseConfig, dsn)
	if err != nil {
		return nil, sqldriver.ConfigError(err, form)
	}
	t, err := configure(d, cfg, opts)
	if err != nil {
		return nil, sqldriver.ConfigError(err, form)
	}
	c := stdlib.GetConnector(*cfg,
		stdlib.OptionBeforeConnect(t.Prepare),
		stdlib.OptionShouldPing(func(_ context.Context, p stdlib.ShouldPingParams) bool {
			return p.IdleDuration > pingAfter || hasNews(p.Conn)
		}))
	if len(t.Instances) > 1 {
		return c, nil // its errors name the hosts that it has tried
	}
	return sqldriver.Of(t.Instances[0], c), nil
}

// NewPool returns a pool that connects through d; ctx is used as in
// pgxpool.NewWithConfig. It remains up to the caller to close d, after the pool.
// Errors are like those of [NewConnector].
//
// The pool connects in the background: an Acquire whose context ends returns that
// context's error, while its attempt to connect continues, and occupies one of the
// pool's places, until connect_timeout in dsn or the Dialer's timeout (30 s). Set
// connect_timeout, in seconds, or [cloudsqlconn.WithDialTimeout] to less than the
// deadlines of your queries: with more, a query that cannot be connected returns a bare
// context.DeadlineExceeded, and the reason and the hint are lost.
func NewPool(ctx context.Context, d *cloudsqlconn.Dialer, dsn string, opts ...cloudsqlconn.DialOption) (*pgxpool.Pool, error) {
	cfg, err := pgconfig.Parse(pgxpool.ParseConfig, dsn)
	if err != nil {
		return nil, sqldriver.ConfigError(err, form)
	}
	if err := ConfigurePool(d, cfg, opts...); err != nil {
		return nil, err
	}
	return pgxpool.NewWithConfig(ctx, cfg)
}

// ConfigurePool makes the pool of cfg connect through d, as one of [NewPool] does: it
// is [Configure] for cfg.ConnConfig, and sets BeforeConnect and ShouldPing, so that the
// user of an IAM login can be left out, load_balance_hosts=random works, and a
// connection that the server has ended is found dead before it is used. Functions that
// cfg has there already are called too: BeforeConnect before ours, and a ShouldPing in
// place of our rule to ping after a second, but not of the look at what has come.
// Errors are like those of [NewConnector].
func ConfigurePool(d *cloudsqlconn.Dialer, cfg *pgxpool.Config, opts ...cloudsqlconn.DialOption) error {
	t, err := configure(d, cfg.ConnConfig, opts)
	if err != nil {
		return sqldriver.ConfigError(err, form)
	}
	before, ping := cfg.BeforeConnect, cfg.ShouldPing
	cfg.BeforeConnect = func(ctx context.Context, c *pgx.ConnConfig) error {
		if before != nil {
			if err := before(ctx, c); err != nil {
				return err
			}
		}
		return t.Prepare(ctx, c)
	}
	cfg.ShouldPing = func(ctx context.Context, p pgxpool.ShouldPingParams) bool {
		if ping != nil && ping(ctx, p) {
			return true
		}
		return ping == nil && p.IdleDuration > pingAfter || hasNews(p.Conn)
	}
	return nil
}

// Configure makes cfg connect through d to the instances that are its hosts. For a
// pool there is [ConfigurePool], which does more. Configure sets DialFunc, LookupFunc,
// AfterNetConnect and Port, clears TLSConfig, and keeps each host only once, so that
// one attempt to connect is one Dial of each host that is tried. An AfterNetConnect
// already in cfg is called before ours. Errors are like those of [NewConnector].
//
// pgx gives each connection a copy of cfg of its own, which is bound to it. pgconn
// makes no copy: pass its ConnectConfig a copy for each connection. Without one,
// requests to cancel a query can go to another node of a read pool, an IAM login
// needs a user (ErrConfig) and is not repeated for managed connection pooling, and a
// login that is refused has no hint.
func Configure(d *cloudsqlconn.Dialer, cfg *pgx.ConnConfig, opts ...cloudsqlconn.DialOption) error {
	t, err := configure(d, cfg, opts)
	if err == nil && t.Random {
		err = errors.New("load_balance_hosts=random is for NewConnector, NewPool, ConfigurePool and RegisterDriver; with Configure, have stdlib.RandomizeHostOrderFunc run before each connect")
	}
	return sqldriver.ConfigError(err, form)
}

// configure is Configure.
func configure(d *cloudsqlconn.Dialer, cfg *pgx.ConnConfig, opts []cloudsqlconn.DialOption) (*pgtunnel.Tunnel, error) {
	instances, err := pgconfig.TakeHosts(d, cfg)
	if err != nil {
		return nil, err
	}
	if opts, err = sqldriver.Options(d, cfg.RuntimeParams, opts); err != nil {
		return nil, err
	}
	iam := d.IAMAuthN(opts...)
	if err := pgconfig.TakeSettings(cfg, iam); err != nil {
		return nil, err
	}
	random, err := pgconfig.TakeBalancing(cfg)
	if err != nil {
		return nil, err
	}
	if iam {
		cfg.User = pgconfig.IAMUser(cfg)
	}
	t := &pgtunnel.Tunnel{Dialer: d, Options: opts, IAM: iam, Instances: instances, Random: random}
	t.Use(cfg)
	return t, nil
}

// pingAfter is how long a connection is idle at least before it has to show that it
// lives, as pgx has it.
const pingAfter = time.Second

// hasNews reports whether the server has said something to an idle connection, which
// is mostly its end, or whether only a ping can tell: pgx reads in the background
// while a Write is slow, and leaves that Read waiting.
func hasNews(c *pgx.Conn) bool {
	state := heard.Look(c.PgConn().Conn())
	return state == heard.Something || state == heard.Busy
}

// RegisterDriver makes a driver for sql.Open that connects through a Dialer of
// its own, made with opts. A name that is taken is an error. cleanup closes the
// Dialer; the name stays taken. cleanup is never nil.
func RegisterDriver(name string, opts ...cloudsqlconn.Option) (cleanup func() error, err error) {
	_, cleanup, err = sqldriver.Register(name, opts, func(d *cloudsqlconn.Dialer, dsn string) (sqldriver.Opener, error) {
		return newConnector(d, dsn, nil)
	})
	return cleanup, err
}
