package pgsqlite

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"
)

func TestHidesUncommittedRows(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	a, b := connect(t, e), connect(t, e)
	exec(t, a, "CREATE TABLE t (n INTEGER)")

	tx, err := a.Begin(t.Context())
	must(t, err)
	_, err = tx.Exec(t.Context(), "INSERT INTO t VALUES ($1)", 1)
	must(t, err)
	want(t, count(t, a), 1)
	want(t, count(t, b), 0)
	must(t, tx.Commit(t.Context()))
	want(t, count(t, b), 1)

	exec(t, a, "BEGIN; INSERT INTO t VALUES (2)")
	exec(t, b, "BEGIN")
	want(t, count(t, b), 1)
	exec(t, a, "COMMIT")
	want(t, count(t, b), 1) // its transaction began before
	exec(t, b, "COMMIT")
	want(t, count(t, b), 2)

	tx, err = a.Begin(t.Context())
	must(t, err)
	_, err = tx.Exec(t.Context(), "DELETE FROM t")
	must(t, err)
	must(t, tx.Rollback(t.Context()))
	want(t, count(t, a), 2)
}

func TestWriteWaitsForTheTransactionBefore(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"COMMIT", "ROLLBACK", "leave"} {
		for _, begin := range []string{"", "BEGIN; SELECT * FROM t; "} {
			t.Run(begin+end, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					e := newEngine(t)
					a, b := connect(t, e), connect(t, e)
					exec(t, a, "CREATE TABLE t (n INTEGER); BEGIN; INSERT INTO t VALUES (1)")
					done := make(chan error, 1)
					go func() {
						_, err := b.Exec(t.Context(), begin+"INSERT INTO t VALUES (2)")
						done <- err
					}()
					synctest.Wait()
					select {
					case err := <-done:
						t.Fatalf("did not wait: %v", err)
					default:
					}

					if end == "leave" {
						must(t, a.Close(t.Context()))
					} else {
						exec(t, a, end)
					}
					if err := <-done; begin != "" && end == "COMMIT" {
						wantCode(t, err, "40001") // what it had read is out of date
					} else {
						must(t, err)
					}
				})
			})
		}
	}
}

func TestFailedTransactionTakesNothingUntilItEnds(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	conn := connect(t, e)
	exec(t, conn, "CREATE TABLE t (n INTEGER UNIQUE)")

	tx, err := conn.Begin(t.Context())
	must(t, err)
	insert := func(n int) error {
		_, err := tx.Exec(t.Context(), "INSERT INTO t VALUES ($1)", n)
		return err
	}
	must(t, insert(1))
	wantCode(t, insert(1), "23505")
	want(t, conn.PgConn().TxStatus(), failed)
	wantCode(t, insert(2), "25P02")
	if err := tx.Commit(t.Context()); !errors.Is(err, pgx.ErrTxCommitRollback) {
		t.Errorf("commit: %v", err)
	}
	want(t, conn.PgConn().TxStatus(), idle)
	want(t, count(t, conn), 0)

	tx, err = conn.Begin(t.Context())
	must(t, err)
	must(t, insert(1))
	inner, err := tx.Begin(t.Context()) // a savepoint
	must(t, err)
	_, err = inner.Exec(t.Context(), "INSERT INTO t VALUES (1)")
	wantCode(t, err, "23505")
	must(t, inner.Rollback(t.Context()))
	must(t, insert(2))
	must(t, tx.Commit(t.Context()))
	want(t, count(t, conn), 2)
}

func TestRefusedCommitRollsBack(t *testing.T) {
	t.Parallel()
	conn := connect(t, newEngine(t))
	exec(t, conn, "CREATE TABLE t (n INTEGER PRIMARY KEY); CREATE TABLE u (n INTEGER REFERENCES t (n) DEFERRABLE INITIALLY DEFERRED)")
	exec(t, conn, "BEGIN; INSERT INTO t VALUES (1); INSERT INTO u VALUES (2)")
	_, err := conn.Exec(t.Context(), "COMMIT")
	wantCode(t, err, "23503")
	want(t, conn.PgConn().TxStatus(), idle)
	want(t, count(t, conn), 0)
}

func TestEndingTwiceIsHarmless(t *testing.T) {
	t.Parallel()
	conn := connect(t, newEngine(t))
	exec(t, conn, "COMMIT; ROLLBACK; START TRANSACTION ISOLATION LEVEL SERIALIZABLE; BEGIN; END; ABORT;; -- nothing")
	must(t, conn.Ping(t.Context())) // an empty query
	_, err := conn.Exec(t.Context(), "", pgx.QueryExecModeCacheDescribe)
	must(t, err)
	want(t, conn.PgConn().TxStatus(), idle)
}

func TestCancelledWriteIsNotDone(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	a, b := connect(t, e), connect(t, e)
	exec(t, a, "CREATE TABLE t (n INTEGER); BEGIN; INSERT INTO t VALUES (1)")

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := b.Exec(ctx, "INSERT INTO t VALUES (2)")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting insert: %v", err)
	}
	want(t, b.IsClosed(), true)
	<-b.PgConn().CleanupDone()
	exec(t, a, "COMMIT")
	want(t, count(t, a), 1)
}
