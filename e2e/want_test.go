package e2e

import (
	"context"
	"database/sql"
	"errors"
	"testing"
)

func wantNil(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}

// queryer is a pool, a connection or a transaction.
type queryer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func exec(t *testing.T, q queryer, query string, args ...any) {
	t.Helper()
	if _, err := q.ExecContext(t.Context(), query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// value returns the one value that a query has as its answer.
func value[T any](t *testing.T, q queryer, query string, args ...any) T {
	t.Helper()
	var v T
	if err := q.QueryRowContext(t.Context(), query, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return v
}

// values returns the values that a query has as its answer, one a row.
func values[T any](t *testing.T, q queryer, query string, args ...any) []T {
	t.Helper()
	rows, err := q.QueryContext(t.Context(), query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		var v T
		wantNil(t, rows.Scan(&v))
		all = append(all, v)
	}
	wantNil(t, rows.Err())
	return all
}

// wantAnswer checks that the database answers.
func wantAnswer(t *testing.T, q queryer) {
	t.Helper()
	if got := value[int](t, q, "select 6 * 7"); got != 42 {
		t.Fatalf("6 * 7 is %d", got)
	}
}
