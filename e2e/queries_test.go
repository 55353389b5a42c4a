package e2e

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
)

func TestTransactionsCommitAndRollBack(t *testing.T) {
	eachEngine(t, func(t *testing.T, e *engine) {
		db := e.newInstance(t).withDatabase(t).open(t, app)
		exec(t, db, "create table fruit (id int primary key, name text)")
		insert := e.bind("insert into fruit (id, name) values (?, ?)")
		exec(t, db, insert, 1, "apple")

		tx, err := db.BeginTx(t.Context(), nil)
		wantNil(t, err)
		exec(t, tx, insert, 2, "Birne")
		wantNil(t, tx.Commit())

		tx, err = db.BeginTx(t.Context(), nil)
		wantNil(t, err)
		exec(t, tx, insert, 3, "cherry")
		if got := value[int](t, tx, "select count(*) from fruit"); got != 3 {
			t.Errorf("the transaction sees %d rows, want 3", got)
		}
		wantNil(t, tx.Rollback())

		if got := value[string](t, db, e.bind("select name from fruit where id = ?"), 2); got != "Birne" {
			t.Errorf("row 2 is %q, want Birne", got)
		}
		got, want := values[string](t, db, "select name from fruit order by id"), []string{"apple", "Birne"}
		if !slices.Equal(got, want) {
			t.Errorf("the table holds %q, want %q", got, want)
		}
	})
}

// A transaction ends with the context that it was begun with: it is rolled back
// as soon as that has ended, and the pool goes on.
func TestATransactionEndsWithItsContext(t *testing.T) {
	eachEngine(t, func(t *testing.T, e *engine) {
		db := e.newInstance(t).withDatabase(t).open(t, app)
		exec(t, db, "create table fruit (id int primary key)")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		tx, err := db.BeginTx(ctx, nil)
		wantNil(t, err)
		exec(t, tx, "insert into fruit values (1)")
		cancel()
		for err = nil; err == nil; {
			_, err = tx.ExecContext(t.Context(), "insert into fruit values (2)")
		}
		if err := tx.Commit(); err == nil {
			t.Error("Commit after the context has ended is no error")
		}
		if got := value[int](t, db, "select count(*) from fruit"); got != 0 {
			t.Errorf("the table has %d rows, want none", got)
		}
	})
}

func TestTenConnectionsWorkAtOnce(t *testing.T) {
	eachEngine(t, func(t *testing.T, e *engine) {
		const n = 10
		i := e.newInstance(t).withDatabase(t)
		db := i.open(t, app)
		db.SetMaxOpenConns(n)
		conns := openConns(t, db, n) // all open now, none has been given back

		ids := make([]int64, n)
		var wg sync.WaitGroup
		for k, c := range conns {
			wg.Go(func() {
				if err := c.QueryRowContext(t.Context(), e.sessionID).Scan(&ids[k]); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		slices.Sort(ids)
		if got := len(slices.Compact(ids)); got != n {
			t.Errorf("%d different sessions, want %d", got, n)
		}
		if got := value[int](t, conns[0], e.sessions); got != n {
			t.Errorf("the server has %d sessions open, want %d", got, n)
		}
		if got := i.dialer.Instances()[0].OpenConnections; got != n {
			t.Errorf("the Dialer has %d connections open, want %d", got, n)
		}
	})
}

// openConns opens n connections at once.
func openConns(t *testing.T, db *sql.DB, n int) []*sql.Conn {
	t.Helper()
	conns := make([]*sql.Conn, n)
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range conns {
		wg.Go(func() { conns[i], errs[i] = db.Conn(t.Context()) })
	}
	wg.Wait()
	for _, c := range conns {
		if c != nil {
			t.Cleanup(func() { _ = c.Close() }) // the test may have closed it
		}
	}
	wantNil(t, errors.Join(errs...))
	return conns
}

func TestTenMegabytesGoThereAndBack(t *testing.T) {
	eachEngine(t, func(t *testing.T, e *engine) {
		sent := make([]byte, 10<<20)
		_, _ = rand.NewChaCha8([32]byte{}).Read(sent) // never fails
		db := e.newInstance(t).withDatabase(t).open(t, app)
		exec(t, db, fmt.Sprintf("create table files (content %s)", e.blob))
		exec(t, db, e.bind("insert into files values (?)"), sent)

		if got := value[int](t, db, "select octet_length(content) from files"); got != len(sent) {
			t.Errorf("the server has %d bytes, want %d", got, len(sent))
		}
		if got := value[[]byte](t, db, "select content from files"); !bytes.Equal(got, sent) {
			t.Errorf("%d bytes came back, not the %d that were sent", len(got), len(sent))
		}
	})
}
