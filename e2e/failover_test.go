package e2e

import (
	"context"
	"database/sql"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/driver/postgres"
)

// load runs a query again and again, by several workers, and counts.
type load struct {
	wg     sync.WaitGroup
	stop   atomic.Bool
	blue   atomic.Int64 // answers of the one server
	green  atomic.Int64 // answers of the other
	failed atomic.Int64
}

func (l *load) start(t *testing.T, workers int, ask func(context.Context) (string, error)) {
	for range workers {
		l.wg.Go(func() {
			for !l.stop.Load() {
				switch who, err := ask(t.Context()); {
				case err != nil:
					l.failed.Add(1)
				case who == "blue":
					l.blue.Add(1)
				default:
					l.green.Add(1)
				}
			}
		})
	}
}

// waitFor waits until n has grown by so much.
func waitFor(n *atomic.Int64, much int64) {
	for until := n.Load() + much; n.Load() < until; {
		runtime.Gosched()
	}
}

// A DNS name is led from one server to another while pools of both kinds are
// busy. Each connection to the old server can cost the one query that runs over
// it; nothing else is lost, and both pools end up at the new server.
func TestPoolsFollowADNSNameToAnotherServer(t *testing.T) {
	eachPostgres(t, func(t *testing.T, e *engine) {
		const (
			domain  = "db.example.com"
			other   = "my-project:europe-west1:green"
			workers = 8
			period  = 100 * time.Millisecond
		)
		dns := cloudsqltest.NewDNS()
		dns.SetTXT(domain, instanceName)
		i := e.newInstanceOf(t, e.ownServer(t), cloudsqltest.Instance{}, cloudsqlconn.WithDNSResolver(dns), cloudsqlconn.WithFailoverPeriod(period))
		green := e.ownServer(t)
		i.kit.AddInstance(other, cloudsqltest.Instance{DatabaseVersion: e.version, Backend: green.TCPAddr()})
		for name, server := range map[string]interface {
			Exec(context.Context, ...string) error
		}{"blue": i.server, "green": green} {
			wantNil(t, server.Exec(t.Context(), "CREATE FUNCTION who() RETURNS text LANGUAGE sql AS $$ SELECT '"+name+"' $$"))
		}

		dsn := i.dsn(domain, app, "postgres")
		connector, err := i.connector(i.dialer, dsn)
		wantNil(t, err)
		db := sql.OpenDB(connector)
		defer db.Close()
		db.SetMaxOpenConns(workers)
		db.SetMaxIdleConns(workers)
		pool, err := postgres.NewPool(t.Context(), i.dialer, dsn+" pool_max_conns=8")
		wantNil(t, err)
		defer pool.Close()

		var std, pgx load
		std.start(t, workers, func(ctx context.Context) (who string, err error) {
			return who, db.QueryRowContext(ctx, "select who()").Scan(&who)
		})
		pgx.start(t, workers, func(ctx context.Context) (who string, err error) {
			return who, pool.QueryRow(ctx, "select who()").Scan(&who)
		})
		loads := map[string]*load{"database/sql": &std, "pgxpool": &pgx}
		for _, l := range loads {
			waitFor(&l.blue, 100)
		}
		dns.SetTXT(domain, other)
		for _, l := range loads {
			waitFor(&l.green, 100)
		}
		for i.openConnections() > 0 {
			runtime.Gosched()
		}
		for name, l := range loads {
			l.stop.Store(true)
			l.wg.Wait()
			t.Logf("%s: %d queries at the old server, %d at the new one, %d failed", name, l.blue.Load(), l.green.Load(), l.failed.Load())
			if l.failed.Load() > workers {
				t.Errorf("%s: %d queries failed, over %d connections", name, l.failed.Load(), workers)
			}
			if l.blue.Load() < 100 || l.green.Load() < 100 {
				t.Errorf("%s: no load on both servers", name)
			}
		}
	})
}

// openConnections is how many connections the Dialer has to the instance.
func (i *instance) openConnections() int64 {
	for _, status := range i.dialer.Instances() {
		if status.Name.String() == instanceName {
			return status.OpenConnections
		}
	}
	return 0
}
