// Package pgtunnel connects pgx through a Dialer, and sees to the login and to requests
// to cancel queries. It does not know how data source names are read.
package pgtunnel

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

// Tunnel is the way of a configuration to its instances.
type Tunnel struct {
	Dialer    *cloudsqlconn.Dialer
	Options   []cloudsqlconn.DialOption
	IAM       bool     // what Options mean; the user may be left out then
	Instances []string // at least one
	Random    bool     // order of the instances, by Prepare

	cfg *pgconn.Config // the configured one itself: connections have copies

	// The configuration's own.
	netConnected  func(context.Context, *pgconn.Config, net.Conn) (net.Conn, error) // nil: none
	buildFrontend pgconn.BuildFrontendFunc
}

// Use makes cfg connect through t, which is of no other configuration.
func (t *Tunnel) Use(cfg *pgx.ConnConfig) {
	t.cfg, t.netConnected, t.buildFrontend = &cfg.Config, cfg.AfterNetConnect, cfg.BuildFrontend
	cfg.DialFunc, cfg.AfterNetConnect = t.dial, t.connected
	cfg.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
}

// instance returns the instance that pgx has made addr of.
func (t *Tunnel) instance(addr string) (string, bool) {
	host, _, err := net.SplitHostPort(addr)
	return host, err == nil && slices.Contains(t.Instances, host)
}

// Prepare prepares cfg, a copy, for a connect of a pool.
func (t *Tunnel) Prepare(ctx context.Context, cfg *pgx.ConnConfig) error {
	if t.IAM && cfg.User == "" {
		if err := sqldriver.CheckUser(ctx, t.Dialer, cfg.Host); err != nil {
			return err
		}
	}
	if t.Random {
		return stdlib.RandomizeHostOrderFunc(ctx, cfg)
	}
	return nil
}

// dial connects for pgx.
func (t *Tunnel) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	return t.dialBy(ctx, addr, nil)
}

// dialBy connects for pgx, with the configuration of by.
func (t *Tunnel) dialBy(ctx context.Context, addr string, by *session) (net.Conn, error) {
	instance, ok := t.instance(addr)
	if !ok {
		instance = t.Instances[0] // a request to cancel, from a connection without a copy of cfg
	}
	return connectAgain(ctx, by, func(ctx context.Context) (net.Conn, error) {
		c, err := sqldriver.Dial(ctx, t.Dialer, instance, sqldriver.Postgres, t.Options)
		if err != nil {
			return nil, told{err}
		}
		return c, nil
	})
}

// connected prepares the login of a connection that stands. cfg is the
// connection's own.
func (t *Tunnel) connected(ctx context.Context, cfg *pgconn.Config, conn net.Conn) (net.Conn, error) {
	c := conn // of Dial, as long as nothing is around it
	info, ok := cloudsqlconn.InfoOf(c)
	if t.netConnected != nil {
		var err error
		if conn, err = t.netConnected(ctx, cfg, conn); err != nil {
			return conn, err
		}
	}
	own := ok && cfg != t.cfg
	if t.IAM && cfg.User == "" {
		if !own {
			return conn, sqldriver.NoUser(t.Instances[0])
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

// session is what the configuration of one connection is bound to. pgx tries one host
// after the other with it, and while it tries one it may still be closing the connection
// to another.
type session struct {
	cfg *pgconn.Config
	at  atomic.Pointer[login] // nil: none has passed yet
}

// login is one that has passed.
type login struct {
	conn     net.Conn
	instance string
}

// bind makes cfg the configuration of c: its requests to cancel a query go to
// the host that c is on, and a refused login has a hint.
func (t *Tunnel) bind(ctx context.Context, cfg *pgconn.Config, c net.Conn, info cloudsqlconn.ConnInfo) {
	var s *session
	if made, ok := c.(interface{ session() *session }); ok {
		s = made.session()
	}
	if s == nil || s.cfg != cfg { // of another connection, whose configuration this is a copy of
		s = &session{cfg: cfg}
		cfg.DialFunc = t.dialOf(s) // once: the connection to another host may be asking for it
	}
	s.at.Store(nil)
	instance, user := info.Instance.String(), cfg.User
	passed := func() {
		s.at.Store(&login{c, instance})
		if t.IAM {
			pglogin.Repeat(c, user, cmp.Or(cfg.Database, user), t.Options)
		}
	}
	refused := t.refused(ctx, cfg, instance)
	cfg.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		return t.buildFrontend(pglogin.NewReader(r, passed, refused), w)
	}
}

// dialOf returns what connects with the configuration of s.
func (t *Tunnel) dialOf(s *session) pgconn.DialFunc {
	return func(ctx context.Context, _, addr string) (net.Conn, error) {
		if _, ok := t.instance(addr); ok {
			return t.dialBy(ctx, addr, s) // the next host, or another connection with a copy of the configuration
		}
		to := s.at.Load()
		if to == nil {
			return nil, errNotLoggedIn
		}
		return connectAgain(ctx, nil, func(ctx context.Context) (net.Conn, error) {
			return t.Dialer.Dial(ctx, to.instance, append(slices.Clip(t.Options), cloudsqlconn.WithSameHost(to.conn))...)
		})
	}
}
