package libraries

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/driver/postgres"
)

// Mood is an enum in the database: CREATE TYPE mood AS ENUM ('glad', 'sad').
type Mood string

// pgxPool opens a pool of connections that know the type mood, and of which
// tracer sees every query.
func pgxPool(ctx context.Context, d *cloudsqlconn.Dialer, dsn string, tracer pgx.QueryTracer) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	if err := postgres.ConfigurePool(d, cfg); err != nil {
		return nil, err
	}
	cfg.ConnConfig.Tracer = tracer
	cfg.AfterConnect = func(ctx context.Context, c *pgx.Conn) error {
		for _, name := range []string{"mood", "_mood"} {
			t, err := c.LoadType(ctx, name)
			if err != nil {
				return err
			}
			c.TypeMap().RegisterType(t)
		}
		return nil
	}
	return pgxpool.NewWithConfig(ctx, cfg)
}

// moods returns an array of the enum.
func moods(ctx context.Context, pool *pgxpool.Pool) (list []Mood, err error) {
	err = pool.QueryRow(ctx, "SELECT $1::mood[]", pgtype.FlatArray[Mood]{"sad", "glad"}).Scan(&list)
	return list, err
}
