package postgres_test

import (
	"context"
	"errors"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/driver/internal/heard"
	"github.com/cloudsqlconn/cloudsqlconn/driver/postgres"
)

// poolOf returns a pool for a configuration of the program's own.
func poolOf(t *testing.T, d *cloudsqlconn.Dialer, dsn string, own func(*pgxpool.Config)) *pgxpool.Pool {
	t.Helper()
	cfg, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	own(cfg)
	if err := postgres.ConfigurePool(d, cfg); err != nil {
		t.Fatal(err)
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func TestConfigurePoolCompletesTheUserAfterTheProgramsOwnFunction(t *testing.T) {
	t.Parallel()
	d, came := as(t, account)
	named := ""
	pool := poolOf(t, d, "dbname=shop pool_max_conns=1 host="+instance, func(cfg *pgxpool.Config) {
		cfg.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error {
			c.User = named
			return nil
		}
	})
	for _, tt := range []struct{ named, want string }{{"", "app@my-project.iam"}, {"other@example.com", "other@example.com"}} {
		named = tt.named
		_ = pool.Ping(t.Context()) // the server says no more than that it lets them in
		if got := <-came; got != tt.want {
			t.Errorf("%s has come, want %s", got, tt.want)
		}
		pool.Reset()
	}
}

func TestTheProgramsOwnFunctionCanKeepAPoolFromConnecting(t *testing.T) {
	t.Parallel()
	s, p := kit(t, cloudsqltest.Instance{Handler: answerSelects})
	no := errors.New("not now")
	pool := poolOf(t, newDialer(t, s.Options()...), "user=app host="+instance, func(cfg *pgxpool.Config) {
		cfg.BeforeConnect = func(context.Context, *pgx.ConnConfig) error { return no }
	})
	if err := pool.Ping(t.Context()); !errors.Is(err, no) {
		t.Errorf("got %v", err)
	}
	if n := p.Accepted(); n != 0 {
		t.Errorf("%d connections", n)
	}
}

// A connection that the server has ended is not used, however short it was idle:
// with less than a second nobody pings.
func TestAPoolUsesNoConnectionThatHasEnded(t *testing.T) {
	t.Parallel()
	s, p := kit(t, cloudsqltest.Instance{Handler: answerSelects})
	pool := poolOf(t, newDialer(t, s.Options()...), "pool_max_conns=1 user=app host="+instance, func(*pgxpool.Config) {})
	for range 5 {
		var c net.Conn
		if err := pool.AcquireFunc(t.Context(), func(conn *pgxpool.Conn) error {
			c = conn.Conn().PgConn().Conn()
			return conn.Ping(t.Context())
		}); err != nil {
			t.Fatal(err)
		}
		if p.CutConnections(false) != 1 {
			t.Fatal("the fault did not happen")
		}
		for heard.Look(c) == heard.Quiet { // the end has not come yet
			runtime.Gosched()
		}
	}
}

// pgxpool returns the error of a context that ends while it connects, and nothing else.
func TestAPoolTellsWhyItCannotConnectIfItKnowsBeforeTheQueryEnds(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		params string
		opts   []cloudsqlconn.DialOption
		told   bool
	}{
		"as it is":                   {"", nil, false},
		"a connect_timeout":          {" connect_timeout=4", nil, true},
		"a connect_timeout too long": {" connect_timeout=6", nil, false},
		"a dial timeout":             {"", []cloudsqlconn.DialOption{cloudsqlconn.WithDialTimeout(4 * time.Second)}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := cloudsqltest.NewMemoryServer()
				defer s.Close()
				p := s.AddInstance(instance, cloudsqltest.Instance{})
				p.SetBehavior(cloudsqltest.Unreachable)
				d := newDialer(t, s.Options()...)
				pool, err := postgres.NewPool(t.Context(), d, "user=app host="+instance+tt.params, tt.opts...)
				if err != nil {
					t.Fatal(err)
				}
				defer pool.Close()
				defer d.Close() // or the pool waits for what it does in the background
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				_, err = pool.Exec(ctx, "select 1")
				if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() == nil != tt.told {
					t.Fatalf("got %v, and the context's is %v", err, ctx.Err())
				}
				e, ok := errors.AsType[*cloudsqlconn.Error](err)
				if hint := cloudsqlconn.Hint(err); ok != tt.told || ok && (e.Instance != instance || !strings.Contains(hint, "3307")) || !ok && (hint != "" || err != context.DeadlineExceeded) {
					t.Errorf("got %v, hint %q", err, hint)
				}
				if p.Counts().Swallowed == 0 {
					t.Error("the fault did not happen")
				}
			})
		})
	}
}
