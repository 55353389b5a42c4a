package libraries

import (
	"context"
	"database/sql"

	"github.com/jmoiron/sqlx"
)

// sqlxWith works with sqlx on a pool that is there, whose placeholders are those
// of the driver pgx.
func sqlxWith(ctx context.Context, pool *sql.DB) (string, error) {
	return sqlxTitle(ctx, sqlx.NewDb(pool, "pgx"))
}

// sqlxOpen works with sqlx and a name given to postgres.RegisterDriver. sqlx has to
// be told, once, what the driver has for placeholders.
func sqlxOpen(ctx context.Context, driver, dsn string) (string, error) {
	sqlx.BindDriver(driver, sqlx.DOLLAR)
	db, err := sqlx.ConnectContext(ctx, driver, dsn)
	if err != nil {
		return "", err
	}
	defer db.Close()
	return sqlxTitle(ctx, db)
}

func sqlxTitle(ctx context.Context, db *sqlx.DB) (title string, err error) {
	query, args, err := db.BindNamed("SELECT title FROM books WHERE id = :id", map[string]any{"id": 1})
	if err != nil {
		return "", err
	}
	err = db.GetContext(ctx, &title, query, args...)
	return title, err
}
