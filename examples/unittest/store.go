// Package unittest is a service with a database in Cloud SQL and, in
// store_test.go, how its author tests it: against an emulated instance, with a
// real database behind it, and with faults.
package unittest

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/driver/postgres"
)

// Store keeps books.
type Store struct {
	dialer *cloudsqlconn.Dialer
	pool   *pgxpool.Pool
}

// Open connects to the database. opts are for tests: a program passes none.
func Open(ctx context.Context, dsn string, opts ...cloudsqlconn.Option) (*Store, error) {
	dialer, err := cloudsqlconn.NewDialer(ctx, opts...)
	if err != nil {
		return nil, err
	}
	pool, err := postgres.NewPool(ctx, dialer, dsn)
	if err != nil {
		return nil, errors.Join(err, dialer.Close())
	}
	s := &Store{dialer, pool}
	if _, err := pool.Exec(ctx, `CREATE TABLE IF NOT EXISTS books (title text PRIMARY KEY)`); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Close closes all connections.
func (s *Store) Close() {
	s.pool.Close()
	_ = s.dialer.Close()
}

// Add adds a book, unless it is already there.
func (s *Store) Add(ctx context.Context, title string) error {
	_, err := s.pool.Exec(ctx, `INSERT INTO books VALUES ($1) ON CONFLICT DO NOTHING`, title)
	return err
}

// Titles returns the titles of all books in alphabetical order.
func (s *Store) Titles(ctx context.Context) ([]string, error) {
	rows, _ := s.pool.Query(ctx, `SELECT title FROM books ORDER BY title`) // CollectRows returns the error
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// Advice returns what to do about an error, or "" if that is not known.
func Advice(err error) string {
	var e *cloudsqlconn.Error
	if errors.As(err, &e) {
		return e.Hint
	}
	return ""
}
