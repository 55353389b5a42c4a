package libraries

import (
	"context"
	"database/sql"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// DBTX has the shape of what sqlc generates for pgx: a *pgxpool.Pool is one.
type DBTX interface {
	Exec(context.Context, string, ...any) (pgconn.CommandTag, error)
	Query(context.Context, string, ...any) (pgx.Rows, error)
	QueryRow(context.Context, string, ...any) pgx.Row
}

// SQLDBTX has the shape of what sqlc generates for database/sql: a *sql.DB is one.
type SQLDBTX interface {
	ExecContext(context.Context, string, ...any) (sql.Result, error)
	PrepareContext(context.Context, string) (*sql.Stmt, error)
	QueryContext(context.Context, string, ...any) (*sql.Rows, error)
	QueryRowContext(context.Context, string, ...any) *sql.Row
}

const getTitle = "SELECT title FROM books WHERE id = $1"

func sqlcTitle(ctx context.Context, db DBTX) (title string, err error) {
	err = db.QueryRow(ctx, getTitle, 1).Scan(&title)
	return title, err
}

func sqlcSQLTitle(ctx context.Context, db SQLDBTX) (title string, err error) {
	err = db.QueryRowContext(ctx, getTitle, 1).Scan(&title)
	return title, err
}
