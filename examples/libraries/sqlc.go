package libraries

import (
	"context"
	"database/sql"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cloudsqlconn/cloudsqlconn/examples/libraries/sqlc/viapgx"
	"github.com/cloudsqlconn/cloudsqlconn/examples/libraries/sqlc/viasql"
)

// What is in sqlc/viapgx and sqlc/viasql is made by sqlc, which is built without cgo: no C
// compiler is needed.
//
//go:generate env CGO_ENABLED=0 go run github.com/sqlc-dev/sqlc/cmd/sqlc@v1.31.1 generate -f sqlc/sqlc.yaml

// sqlcPGX works with what sqlc generates for pgx.
func sqlcPGX(ctx context.Context, pool *pgxpool.Pool) (string, error) {
	return viapgx.New(pool).GetTitle(ctx, 1)
}

// sqlcSQL works with what sqlc generates for database/sql.
func sqlcSQL(ctx context.Context, pool *sql.DB) (string, error) {
	return viasql.New(pool).GetTitle(ctx, 1)
}
