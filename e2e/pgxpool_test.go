package e2e

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/driver/postgres"
)

// openPool returns a pgxpool.Pool for the database.
func (i *instance) openPool(t *testing.T, who login, opts ...cloudsqlconn.DialOption) *pgxpool.Pool {
	t.Helper()
	pool, err := postgres.NewPool(t.Context(), i.dialer, i.dsn(instanceName, who, i.database), opts...)
	wantNil(t, err)
	t.Cleanup(pool.Close)
	return pool
}

func TestPgxPoolCopiesTenThousandRows(t *testing.T) {
	eachPostgres(t, func(t *testing.T, e *engine) {
		const n = 10_000
		pool := e.newInstance(t).withDatabase(t).openPool(t, app)
		_, err := pool.Exec(t.Context(), "create table squares (n bigint, square bigint)")
		wantNil(t, err)

		row := func(k int) ([]any, error) { return []any{int64(k), int64(k) * int64(k)}, nil }
		copied, err := pool.CopyFrom(t.Context(), pgx.Identifier{"squares"}, []string{"n", "square"}, pgx.CopyFromSlice(n, row))
		wantNil(t, err)
		var rows, wrong int64
		wantNil(t, pool.QueryRow(t.Context(), "select count(*), count(*) filter (where square <> n * n) from squares").Scan(&rows, &wrong))
		if copied != n || rows != n || wrong != 0 {
			t.Errorf("copied %d rows; the table has %d, of them %d wrong; want %d and none wrong", copied, rows, wrong, n)
		}
	})
}

func TestPgxPoolListensForNotifications(t *testing.T) {
	eachPostgres(t, func(t *testing.T, e *engine) {
		pool := e.newInstance(t).withDatabase(t).openPool(t, app)
		listener, err := pool.Acquire(t.Context())
		wantNil(t, err)
		defer listener.Release()
		_, err = listener.Exec(t.Context(), "listen orders")
		wantNil(t, err)

		_, err = pool.Exec(t.Context(), "notify orders, 'number 7'") // on another connection
		wantNil(t, err)
		got, err := listener.Conn().WaitForNotification(t.Context())
		wantNil(t, err)
		if got.Channel != "orders" || got.Payload != "number 7" {
			t.Errorf("notified of %q on %q", got.Payload, got.Channel)
		}
	})
}

func TestPgxPoolSendsABatch(t *testing.T) {
	eachPostgres(t, func(t *testing.T, e *engine) {
		pool := e.newInstance(t).openPool(t, iam, cloudsqlconn.WithIAMAuthN(true))
		var (
			batch pgx.Batch
			got   []int
		)
		for k := range 3 {
			batch.Queue("select $1::int * 10", k).QueryRow(func(row pgx.Row) error {
				var v int
				err := row.Scan(&v)
				got = append(got, v)
				return err
			})
		}
		wantNil(t, pool.SendBatch(t.Context(), &batch).Close())
		if len(got) != 3 || got[0] != 0 || got[1] != 10 || got[2] != 20 {
			t.Errorf("got %v, want [0 10 20]", got)
		}
	})
}

func TestPgxPoolCancelsAQuery(t *testing.T) {
	eachPostgres(t, func(t *testing.T, e *engine) {
		i := e.newInstance(t).withDatabase(t)
		pool, watch := i.openPool(t, app), i.open(t, app)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ended := inBackground(func() error {
			_, err := pool.Exec(ctx, i.sleep)
			return err
		})
		i.waitSleeping(t, watch, ended)
		cancel()
		wantError(t, <-ended, context.Canceled)
		wantNil(t, pool.Ping(t.Context()))
		i.waitAwake(t, watch) // the server has been told
	})
}
