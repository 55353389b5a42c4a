//go:build linux

package starved

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/driver/postgres"
)

// pool is a pool of connections, and what is done with it.
type pool struct {
	driver string
	sleep  string // a query that takes longer than anybody waits

	ping, query, transact func(context.Context) error
	exec                  func(ctx context.Context, query string) error
	close                 func() error
}

func newSQLPool(db *sql.DB, of database) *pool {
	db.SetMaxOpenConns(poolSize)
	db.SetMaxIdleConns(poolSize)
	db.SetConnMaxLifetime(connLife)
	exec := func(ctx context.Context, query string) error {
		_, err := db.ExecContext(ctx, query)
		return err
	}
	return &pool{
		driver: of.Driver,
		sleep:  of.Sleep,
		ping:   db.PingContext,
		exec:   exec,
		close:  db.Close,
		query: func(ctx context.Context) error {
			var one int
			return db.QueryRowContext(ctx, "select 1").Scan(&one)
		},
		transact: func(ctx context.Context) error {
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			defer func() { _ = tx.Rollback() }()
			if _, err := tx.ExecContext(ctx, "select 1"); err != nil {
				return err
			}
			return tx.Commit()
		},
	}
}

func newPgxPool(d *cloudsqlconn.Dialer, of database) (*pool, error) {
	dsn := fmt.Sprintf("%s pool_max_conns=%d pool_max_conn_lifetime=%v", of.DSN, poolSize, connLife)
	p, err := postgres.NewPool(context.Background(), d, dsn)
	if err != nil {
		return nil, err
	}
	exec := func(ctx context.Context, query string) error {
		_, err := p.Exec(ctx, query)
		return err
	}
	return &pool{
		driver: of.Driver,
		sleep:  of.Sleep,
		ping:   p.Ping,
		exec:   exec,
		close:  func() error { p.Close(); return nil },
		query: func(ctx context.Context) error {
			var one int
			return p.QueryRow(ctx, "select 1").Scan(&one)
		},
		transact: func(ctx context.Context) error {
			return pgx.BeginFunc(ctx, p, func(tx pgx.Tx) error {
				_, err := tx.Exec(ctx, "select 1")
				return err
			})
		},
	}, nil
}

// work uses the pool until ctx ends.
func (p *pool) work(ctx context.Context, c *calls) {
	for ctx.Err() == nil {
		pause(ctx)
		patience := leastPatience + rand.N(mostPatience-leastPatience)
		do := func(kind string, f func(context.Context) error) { _ = c.do(p.driver+" "+kind, p.driver, patience, f) }
		switch rand.IntN(8) {
		case 0:
			do("ping", p.ping)
		case 1:
			do("sleep", func(ctx context.Context) error { return p.exec(ctx, p.sleep) })
		case 2, 3:
			do("transaction", p.transact)
		case 4, 5:
			do("exec", func(ctx context.Context) error { return p.exec(ctx, "select 1") })
		default:
			do("query", p.query)
		}
	}
}

// recovers returns nil if a query succeeds before ctx ends.
func (p *pool) recovers(ctx context.Context) error {
	for {
		err := p.query(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}
