package postgres

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/driver/internal/pglogin"
	"github.com/cloudsqlconn/cloudsqlconn/driver/internal/sqldriver"
)

// tunnel is the way of a configuration to its instances.
type tunnel struct {
	dialer    *cloudsqlconn.Dialer
	opts      []cloudsqlconn.DialOption
	iam       bool
	instances []string
	random    bool           // order of the instances
	cfg       *pgconn.Config // the configured one itself: connections have copies

	// The configuration's own.
	netConnected  func(context.Context, *pgconn.Config, net.Conn) (net.Conn, error) // nil: none
	buildFrontend pgconn.BuildFrontendFunc
}

// instance returns the instance that pgx has made addr of.
func (t *tunnel) instance(addr string) (string, bool) {
	host, _, err := net.SplitHostPort(addr)
	return host, err == nil && slices.Contains(t.instances, host)
}

// prepare prepares cfg, a copy, for a connect of a pool.
func (t *tunnel) prepare(ctx context.Context, cfg *pgx.ConnConfig) error {
	if t.iam && cfg.User == "" {
		if err := sqldriver.CheckUser(ctx, t.dialer, cfg.Host); err != nil {
			return err
		}
	}
	if t.random {
		return stdlib.RandomizeHostOrderFunc(ctx, cfg)
	}
	return nil
}

// dial connects for pgx.
func (t *tunnel) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	instance, ok := t.instance(addr)
	if !ok {
		instance = t.instances[0] // a request to cancel, from a connection without a copy of cfg
	}
	c, err := sqldriver.Dial(ctx, t.dialer, instance, sqldriver.Postgres, t.opts)
	if err != nil {
		return nil, told{err}
	}
	return c, nil
}

// connected prepares the login of a connection that stands. cfg is the
// connection's own.
func (t *tunnel) connected(ctx context.Context, cfg *pgconn.Config, conn net.Conn) (net.Conn, error) {
	c := conn // of Dial, as long as nothing is around it
	info, ok := cloudsqlconn.InfoOf(c)
	if t.netConnected != nil {
		var err error
		if conn, err = t.netConnected(ctx, cfg, conn); err != nil {
			return conn, err
		}
	}
	own := ok && cfg != t.cfg
	if t.iam && cfg.User == "" {
		if !own {
			return conn, sqldriver.NoUser(t.instances[0])
		}
		user, err := sqldriver.IAMUser(ctx, info, sqldriver.Postgres)
		if err != nil {
			return conn, told{err}
		}
		cfg.User = user
	}
	if own {
		t.bind(ctx, cfg, c, info)
	}
	return conn, nil
}

var errNotLoggedIn = errors.New("there is no session to cancel a query of")

// bind makes cfg the configuration of c: its requests to cancel a query go to
// the host that c is on, and a refused login has a hint if it was, or should have been,
// by IAM.
func (t *tunnel) bind(ctx context.Context, cfg *pgconn.Config, c net.Conn, info cloudsqlconn.ConnInfo) {
	var (
		instance, user = info.Instance.String(), cfg.User
		loggedIn       atomic.Bool
		refused        func(error) error
	)
	passed := func() { loggedIn.Store(true) }
	if t.iam {
		passed = func() {
			loggedIn.Store(true)
			pglogin.Repeat(c, user, cmp.Or(cfg.Database, user), t.opts)
		}
	}
	if sqldriver.HasLoginHint(t.iam, user) {
		refused = func(err error) error {
			if answer, ok := errors.AsType[*pgconn.PgError](err); t.iam && ok && answer.Code == pglogin.ProtocolViolation {
				return sqldriver.PoolerError(instance, err)
			}
			return sqldriver.LoginError(ctx, t.dialer, instance, sqldriver.Postgres, user, t.opts, err)
		}
	}
	cfg.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		return t.buildFrontend(pglogin.NewReader(r, passed, refused), w)
	}
	opts := append(slices.Clip(t.opts), cloudsqlconn.WithSameHost(c))
	cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if _, ok := t.instance(addr); ok {
			return t.dial(ctx, network, addr) // the next host, or another connection with a copy of cfg
		}
		if !loggedIn.Load() {
			return nil, errNotLoggedIn
		}
		return t.dialer.Dial(ctx, instance, opts...)
	}
}
