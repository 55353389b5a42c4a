// Package postgres connects pgx to Cloud SQL for PostgreSQL: through
// database/sql ([NewConnector], [RegisterDriver]), through a pgxpool.Pool
// ([NewPool]), or through any configuration of pgx ([Configure]).
//
// The host of a data source name is the instance:
//
//	host=project:region:instance user=app password=secret dbname=shop
//	postgres://app:secret@/shop?host=project:region:instance
//
// Everything else in it is pgx's, service files, password files and PG*
// environment variables included. TLS settings are not: the connection runs
// inside the Dialer's TLS tunnel, and PostgreSQL's own TLS is off in it, so
// that sslmode need not be written. The port is ignored. With IAM login the
// user can be given as an e-mail address, and needs no password; without a
// user, NewConnector and NewPool take the service account that the Dialer's
// credentials belong to.
//
// Three parameters of a data source name are for the Dialer:
// cloudsql_ip_types=PRIVATE,PUBLIC means [cloudsqlconn.WithIPTypes],
// cloudsql_iam_authn=true means [cloudsqlconn.WithDialIAMAuthN], and
// cloudsql_sql_data=prefer (or never, or only) means [cloudsqlconn.WithSQLData].
package postgres

import (
	"context"
	"database/sql/driver"
	"fmt"
	"net"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/driver/internal/heard"
	"github.com/cloudsqlconn/cloudsqlconn/driver/internal/sqldriver"
)

// NewConnector returns a connector for sql.OpenDB that connects through d.
// Nothing is registered, and d stays the caller's to close.
func NewConnector(d *cloudsqlconn.Dialer, dsn string, opts ...cloudsqlconn.DialOption) (driver.Connector, error) {
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, parseError(err)
	}
	l, err := configure(d, cfg, opts)
	if err != nil {
		return nil, err
	}
	return newConnector(cfg, l), nil
}

// NewPool returns a pool that connects through d; ctx is what
// pgxpool.NewWithConfig uses it for. d stays the caller's to close, after the
// pool.
//
// The pool connects in the background: an Acquire whose context ends returns that
// context's error, while its connect goes on, in one of the pool's places, until
// connect_timeout in dsn or the Dialer's timeout (30 s). Set one of them close to
// the deadlines of your queries.
func NewPool(ctx context.Context, d *cloudsqlconn.Dialer, dsn string, opts ...cloudsqlconn.DialOption) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, parseError(err)
	}
	l, err := configure(d, cfg.ConnConfig, opts)
	if err != nil {
		return nil, err
	}
	cfg.BeforeConnect = l.complete
	cfg.ShouldPing = func(_ context.Context, p pgxpool.ShouldPingParams) bool {
		return shouldPing(p.Conn, p.IdleDuration)
	}
	return pgxpool.NewWithConfig(ctx, cfg)
}

// Configure makes cfg connect through d to the instance that is cfg.Host. It
// sets DialFunc, LookupFunc and Port, and clears TLSConfig and Fallbacks, so
// that one connect is one Dial.
func Configure(d *cloudsqlconn.Dialer, cfg *pgx.ConnConfig, opts ...cloudsqlconn.DialOption) error {
	_, err := configure(d, cfg, opts)
	return err
}

// login is who logs in to what.
type login struct {
	dialer   *cloudsqlconn.Dialer
	instance string
	opts     []cloudsqlconn.DialOption
	iam      bool
}

// complete puts in the user of the credentials if cfg has none.
func (l login) complete(ctx context.Context, cfg *pgx.ConnConfig) (err error) {
	if cfg.User == "" {
		cfg.User, err = sqldriver.IAMUser(ctx, l.dialer, l.instance, sqldriver.Postgres, l.opts)
	}
	return err
}

// configure is Configure. It returns how to log in.
func configure(d *cloudsqlconn.Dialer, cfg *pgx.ConnConfig, opts []cloudsqlconn.DialOption) (l login, err error) {
	instance := cfg.Host
	if instance == "" || instance == "localhost" || strings.HasPrefix(instance, "/") {
		return l, fmt.Errorf("%w: the host is %q; want host=project:region:instance in the data source name, or in PGHOST", cloudsqlconn.ErrBadName, instance)
	}
	for _, f := range cfg.Fallbacks {
		if f.Host != instance {
			return l, fmt.Errorf("%w: two hosts, %q and %q; want one instance", cloudsqlconn.ErrBadName, instance, f.Host)
		}
	}
	opts, err = sqldriver.Options(cfg.RuntimeParams, opts)
	if err != nil {
		return l, err
	}
	cfg.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) {
		c, err := sqldriver.Dial(ctx, d, instance, sqldriver.Postgres, opts)
		if err != nil {
			return nil, told{err}
		}
		return c, nil
	}
	cfg.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
	cfg.TLSConfig, cfg.Fallbacks = nil, nil
	cfg.Port = 3307 // where every instance listens; only pgx's errors show it
	l = login{d, instance, opts, d.IAMAuthN(opts...)}
	if l.iam {
		cfg.User = iamUser(cfg.User)
	}
	return l, nil
}

// iamUser returns the database user of an IAM login, "" if there is none: pgx
// has put in the operating system's user then, who is nobody to IAM.
func iamUser(name string) string {
	if me, err := user.Current(); err == nil && name == me.Username && os.Getenv("PGUSER") != name {
		return ""
	}
	return cloudsqlconn.FormatIAMUser(sqldriver.Postgres, name)
}

// shouldPing reports whether an idle connection has to show that it lives:
// after a second, as pgx has it, and at once if the server has said something,
// which is mostly its end, or if only a ping can tell: pgx reads in the
// background while a Write is slow, and leaves that Read waiting.
func shouldPing(c *pgx.Conn, idle time.Duration) bool {
	if idle > time.Second {
		return true
	}
	state := heard.Look(c.PgConn().Conn())
	return state == heard.Something || state == heard.Busy
}

// RegisterDriver makes a driver for sql.Open that connects through a Dialer of
// its own, made with opts. A taken name is an error. cleanup closes the
// Dialer; the name stays taken.
func RegisterDriver(name string, opts ...cloudsqlconn.Option) (cleanup func() error, err error) {
	d, err := cloudsqlconn.NewDialer(context.Background(), opts...)
	if err != nil {
		return nil, err
	}
	open := func(dsn string) (driver.Connector, error) { return NewConnector(d, dsn) }
	return sqldriver.Register(name, open, d.Close)
}
