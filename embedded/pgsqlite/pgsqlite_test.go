package pgsqlite

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"net"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/stdlib"
)

func TestStoresAndReturnsEveryType(t *testing.T) {
	t.Parallel()
	for _, mode := range []pgx.QueryExecMode{
		pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec,
		pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
	} {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			db := openDB(t, newEngine(t), mode)
			mustExec(t, db, `CREATE TABLE things (
				id SERIAL PRIMARY KEY, name TEXT NOT NULL, label VARCHAR(255), size INTEGER, total BIGINT,
				done BOOLEAN NOT NULL DEFAULT FALSE, weight DOUBLE PRECISION, data BYTEA, price NUMERIC(10,2),
				seen TIMESTAMPTZ, created TIMESTAMPTZ NOT NULL DEFAULT NOW())`)
			insert := `INSERT INTO things (name, label, size, total, done, weight, data, price, seen)
				VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING id`
			seen := time.Date(2026, 3, 1, 12, 30, 0, 123456000, time.FixedZone("", 3600))
			var first, second int64
			must(t, db.QueryRow(insert, "t", "", 42, int64(1)<<60, true, 0.5, []byte{0, 1, 255}, 19.5, seen).Scan(&first))
			must(t, db.QueryRow(insert, "007", nil, nil, nil, false, nil, nil, nil, nil).Scan(&second))
			want(t, []int64{first, second}, []int64{1, 2})

			type thing struct {
				name        string
				label       sql.Null[string]
				size, total sql.Null[int64]
				done        bool
				weight      sql.Null[float64]
				data        string
				price       sql.Null[float64]
				seen        time.Time
			}
			query := "SELECT name, label, size, total, done, weight, data, price, seen, created FROM things WHERE "
			get := func(where string, arg any) (got thing) {
				t.Helper()
				var data []byte
				var seen sql.Null[time.Time]
				var created time.Time
				must(t, db.QueryRow(query+where, arg).Scan(&got.name, &got.label, &got.size, &got.total, &got.done,
					&got.weight, &data, &got.price, &seen, &created))
				got.data, got.seen = string(data), seen.V.UTC()
				if age := time.Since(created); age < 0 || age > time.Minute {
					t.Errorf("created %v ago", age)
				}
				return got
			}
			full := thing{
				"t", sql.Null[string]{V: "", Valid: true}, sql.Null[int64]{V: 42, Valid: true},
				sql.Null[int64]{V: 1 << 60, Valid: true}, true, sql.Null[float64]{V: 0.5, Valid: true}, "\x00\x01\xff",
				sql.Null[float64]{V: 19.5, Valid: true}, seen.UTC(),
			}
			want(t, get("id = $1", first), full)
			want(t, get("$1 = name", "t"), full)
			want(t, get("done = $1", true), full)
			want(t, get("seen <= $1", seen.Add(time.Second)), full)
			want(t, get("weight < $1", 0.75), full)
			want(t, get("name = $1", "007"), thing{name: "007", seen: time.Time{}})

			result, err := db.Exec("UPDATE things SET size = size + $2, done = $1 WHERE id >= $3", true, 1, 1)
			must(t, err)
			n, err := result.RowsAffected()
			must(t, err)
			want(t, n, 2)
			var count int
			must(t, db.QueryRow("SELECT count(*) FROM things WHERE done GROUP BY done HAVING count(*) > $1", 1).Scan(&count))
			want(t, count, 2)
		})
	}
}

func TestComputedColumnsHaveTypes(t *testing.T) {
	t.Parallel()
	conn := connect(t, newEngine(t))
	var one int64
	var half float64
	var version, text string
	var now, current time.Time
	var null *int64
	must(t, conn.QueryRow(t.Context(), "SELECT 1, 0.5, version(), 'a;b', NOW(), CURRENT_TIMESTAMP, NULL").
		Scan(&one, &half, &version, &text, &now, &current, &null))
	want(t, one, 1)
	want(t, half, 0.5)
	want(t, version, "PostgreSQL 15.0 (SQLite)")
	want(t, text, "a;b")
	want(t, now, current)
	want(t, null, nil)

	var a, b string
	var three int64
	must(t, conn.QueryRow(t.Context(), "SELECT $1, $1::text, $2::bigint + 1", "a", 2).Scan(&a, &b, &three))
	want(t, a+b, "aa")
	want(t, three, 3)

	var small, half2 float64
	var blob []byte
	must(t, conn.QueryRow(t.Context(), `SELECT 1.5e-3, .5, x'ff', 'é' AS "name é"`).Scan(&small, &half2, &blob, &text))
	want(t, []float64{small, half2}, []float64{0.0015, 0.5})
	want(t, blob, []byte{255})
	want(t, text, "é")
}

func TestInfersTypesOfParameters(t *testing.T) {
	t.Parallel()
	conn := connect(t, newEngine(t))
	exec(t, conn, "CREATE TABLE t (id BIGSERIAL PRIMARY KEY, name TEXT, ok BOOLEAN, at TIMESTAMPTZ, x DOUBLE PRECISION)")
	const i, s, b, at, x = pgtype.Int8OID, pgtype.TextOID, pgtype.BoolOID, pgtype.TimestamptzOID, pgtype.Float8OID
	for query, types := range map[string][]uint32{
		"INSERT INTO t VALUES ($1, $2, $3, $4, $5)":                                                                   {i, s, b, at, x},
		`INSERT INTO "t" (ok, "name") VALUES ($2, lower($1)), ($3, 'x,(y')`:                                           {0, b, b},
		"INSERT INTO t (ok, at, x) VALUES ($1, now(), $2)":                                                            {b, x},
		"INSERT INTO t (id) VALUES ($1) ON CONFLICT (id) DO UPDATE SET name = $2":                                     {i, s},
		"UPDATE t SET x = x * $1, ok=$2 WHERE t.at >= $3 AND $4 <> name":                                              {x, b, at, s},
		"SELECT id FROM t WHERE name LIKE $1 OR name = '$9' LIMIT $2 OFFSET $3 -- $10":                                {s, i, i},
		"SELECT $1::boolean, $2, $2::timestamptz FROM t WHERE id IN (SELECT 1) AND $3":                                {b, at, 0},
		"SELECT café FROM (SELECT count(*) AS café, max(at) FROM t HAVING count(*) > $1 AND max(t.at) < $2) x":        {i, 0},
		"SELECT 1 FROM t GROUP BY name HAVING max(at) < $1 AND coalesce(lower(name), '') <> $2 AND length(name) = $3": {at, 0, i},
		"DELETE FROM t WHERE id = $1 AND other.id = $1 /* ; */ AND 0 < (SELECT $3 + 1)":                               nil,
		"SELECT 1": {},
	} {
		sd, err := conn.Prepare(t.Context(), query, query)
		if types == nil {
			wantCode(t, err, "42703")
			continue
		}
		must(t, err)
		want(t, sd.ParamOIDs, types)
	}
	for _, query := range []string{"SELECT $0", "SELECT $70000"} {
		_, err := conn.Prepare(t.Context(), query, query)
		wantCode(t, err, "42P02")
	}
}

func TestPreparedStatementServesManyTimes(t *testing.T) {
	t.Parallel()
	db := openDB(t, newEngine(t), pgx.QueryExecModeCacheStatement)
	mustExec(t, db, "CREATE TABLE t (n INTEGER)")
	insert, err := db.Prepare("INSERT INTO t (n) VALUES ($1)")
	must(t, err)
	for n := range 1000 {
		_, err := insert.Exec(n)
		must(t, err)
	}
	must(t, insert.Close())
	rows, err := db.Query("SELECT n FROM t WHERE n < $1 ORDER BY n", 950)
	must(t, err)
	defer rows.Close()
	next := 0
	for ; rows.Next(); next++ {
		var n int
		must(t, rows.Scan(&n))
		want(t, n, next)
	}
	must(t, rows.Err())
	want(t, next, 950)
}

func TestChangedTableInvalidatesPreparedStatement(t *testing.T) {
	t.Parallel()
	conn := connect(t, newEngine(t))
	exec(t, conn, "CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (1)")
	read := func() ([]map[string]any, error) {
		rows, err := conn.Query(t.Context(), "SELECT * FROM t")
		must(t, err)
		return pgx.CollectRows(rows, pgx.RowToMap)
	}
	_, err := read()
	must(t, err)
	exec(t, conn, "ALTER TABLE t ADD COLUMN s TEXT DEFAULT 'new'")
	_, err = read()
	wantCode(t, err, "0A000")
	rows, err := read() // pgx has forgotten the statement
	must(t, err)
	want(t, rows, []map[string]any{{"n": int64(1), "s": "new"}})
}

func TestBatchRunsInOrder(t *testing.T) {
	t.Parallel()
	conn := connect(t, newEngine(t))
	exec(t, conn, "CREATE TABLE t (n INTEGER)")
	batch := &pgx.Batch{}
	for n := range 20 {
		batch.Queue("INSERT INTO t VALUES ($1)", n)
	}
	var sum int64
	batch.Queue("SELECT sum(n) FROM t").QueryRow(func(row pgx.Row) error { return row.Scan(&sum) })
	must(t, conn.SendBatch(t.Context(), batch).Close())
	want(t, sum, 190)
}

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

func TestErrorsHaveStatesAndLeaveTheConnectionUsable(t *testing.T) {
	t.Parallel()
	conn := connect(t, newEngine(t))
	exec(t, conn, `CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, n INTEGER CHECK (n > 0));
		CREATE TABLE u (t INTEGER REFERENCES t (id));
		INSERT INTO t VALUES (1, 'a', 1)`)
	for query, code := range map[string]string{
		"SELEC 1":                               "42601",
		"SELECT FROM WHERE":                     "42601",
		"SELECT 'x":                             "42601",
		"SELECT (1":                             "42601",
		"SELECT ::text":                         "42601",
		"SELECT * FROM nope":                    "42P01",
		"SELECT * FROM information_schema.t":    "42P01",
		"SELECT nope FROM t":                    "42703",
		"INSERT INTO t (nope) VALUES (1)":       "42703",
		"SELECT nope(1)":                        "42883",
		"CREATE TABLE t (id INTEGER)":           "42P07",
		"INSERT INTO t VALUES (2, 'a', 1)":      "23505",
		"INSERT INTO t VALUES (1, 'b', 1)":      "23505",
		"INSERT INTO t VALUES (2, NULL, 1)":     "23502",
		"INSERT INTO t VALUES (2, 'b', 0)":      "23514",
		"INSERT INTO u VALUES (9)":              "23503",
		"SAVEPOINT s":                           "25P01",
		"ROLLBACK TO s":                         "25P01",
		"LISTEN channel":                        "0A000",
		"SELECT relname FROM pg_class":          "42P01",
		"SELECT pg_backend_pid()":               "42883",
		"SET ROLE x":                            "0A000",
		"SET":                                   "42601",
		"SET search_path":                       "42601",
		"SHOW nope":                             "42704",
		"EXPLAIN SELECT 1":                      "0A000",
		"TRUNCATE t":                            "0A000",
		"CREATE EXTENSION x":                    "0A000",
		"CREATE":                                "0A000",
		"COPY t FROM STDIN":                     "0A000",
		"COPY t TO STDOUT":                      "0A000",
		"PRAGMA user_version":                   "42601",
		"ATTACH DATABASE '/tmp/pgsqlite' AS db": "42601",
		"SELECT 9223372036854775807 + abs(-9223372036854775808)": "XX000",
	} {
		for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeCacheStatement} {
			rows, err := conn.Query(t.Context(), query, mode)
			if err == nil {
				rows.Close()
				err = rows.Err()
			}
			if pgErr, ok := errors.AsType[*pgconn.PgError](err); !ok || pgErr.Code != code {
				t.Errorf("%s: %v, want %s", query, err, code)
			}
			want(t, conn.PgConn().TxStatus(), idle)
		}
	}
	want(t, count(t, conn), 1)
}

func TestBadArgumentsAreErrors(t *testing.T) {
	t.Parallel()
	conn := connect(t, newEngine(t))
	exec(t, conn, "CREATE TABLE t (n INTEGER, at TIMESTAMPTZ)")
	_, err := conn.Exec(t.Context(), "INSERT INTO t (n) VALUES ($1)", "not a number")
	wantCode(t, err, "22P02")
	_, err = conn.Exec(t.Context(), "INSERT INTO t (at) VALUES ($1)", "not a time")
	wantCode(t, err, "22P02")
	_, err = conn.Exec(t.Context(), "INSERT INTO t (n) VALUES ('not a number')")
	wantCode(t, err, "22P02")
	exec(t, conn, "INSERT INTO t (n) VALUES (lower('LOOSE'))")
	var n int64
	wantCode(t, conn.QueryRow(t.Context(), "SELECT n FROM t").Scan(&n), "22P02")
	want(t, count(t, conn), 1)
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

func TestQueryCanBeCancelled(t *testing.T) {
	t.Parallel()
	conn := connect(t, newEngine(t))
	exec(t, conn, "CREATE TABLE t (n INTEGER); BEGIN")
	rows, err := conn.Query(t.Context(), `WITH RECURSIVE numbers (n) AS (SELECT $1::int UNION ALL SELECT n + 1 FROM numbers)
		SELECT n FROM numbers`, 1)
	must(t, err)
	defer rows.Close()
	if !rows.Next() {
		t.Fatal(rows.Err())
	}
	must(t, conn.PgConn().CancelRequest(t.Context()))
	for rows.Next() {
	}
	wantCode(t, rows.Err(), "57014")
	want(t, conn.PgConn().TxStatus(), failed)
	exec(t, conn, "ROLLBACK")
	want(t, count(t, conn), 0)
}

func TestCopyFailsWithoutHanging(t *testing.T) {
	t.Parallel()
	conn := connect(t, newEngine(t))
	exec(t, conn, "CREATE TABLE t (n INTEGER)")
	_, err := conn.CopyFrom(t.Context(), pgx.Identifier{"t"}, []string{"n"}, pgx.CopyFromRows([][]any{{1}, {2}}))
	wantCode(t, err, "0A000")
	_, err = conn.PgConn().CopyFrom(t.Context(), strings.NewReader("1\n2\n"), "COPY t FROM STDIN")
	wantCode(t, err, "0A000")
	_, err = conn.PgConn().CopyTo(t.Context(), io.Discard, "COPY t TO STDOUT")
	wantCode(t, err, "0A000")
	want(t, count(t, conn), 0)
}

func TestAnyoneLogsInOverTCP(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { e.ServeConn(conn) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		e.Close()
		wg.Wait()
	})

	conn, err := pgx.Connect(t.Context(), "postgres://somebody:secret@"+l.Addr().String()+"/anything?sslmode=prefer")
	must(t, err)
	want(t, conn.PgConn().ParameterStatus("server_version"), "15.0 (SQLite)")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := conn.Exec(ctx, "SELECT 1"); !errors.Is(err, context.Canceled) {
		t.Errorf("with a cancelled context: %v", err)
	}
	must(t, conn.Close(t.Context()))

	_, err = pgx.Connect(t.Context(), "postgres://somebody@"+l.Addr().String()+"/anything?sslmode=require")
	if err == nil || !strings.Contains(err.Error(), "refused TLS") {
		t.Errorf("with TLS required: %v", err)
	}
}

func TestCloseEndsEveryConnection(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	writing, waiting, idle := connect(t, e), connect(t, e), connect(t, e)
	exec(t, writing, "CREATE TABLE t (n INTEGER); BEGIN; INSERT INTO t VALUES (1)")
	done := make(chan error)
	go func() {
		_, err := waiting.Exec(t.Context(), "INSERT INTO t VALUES (2)")
		done <- err
	}()

	must(t, e.Close())
	if err := <-done; err == nil {
		t.Error("a write outlived its engine")
	}
	if err := idle.Ping(t.Context()); err == nil {
		t.Error("a connection outlived its engine")
	}
	must(t, e.Close())
	client, server := net.Pipe()
	e.ServeConn(server)
	if _, err := client.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("a closed engine served: %v", err)
	}
}

func TestGarbageEndsTheConnection(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	for _, garbage := range []string{"", "GET / HTTP/1.1\r\n\r\n", "\x00\x00\x00\x08\x00\x00\x00\x00"} {
		client, server := net.Pipe()
		go func() {
			io.WriteString(client, garbage)
			client.Close()
		}()
		e.ServeConn(server)
	}
}

func TestEnginesShareNothing(t *testing.T) {
	t.Parallel()
	a, b := connect(t, newEngine(t)), connect(t, newEngine(t))
	exec(t, a, "CREATE TABLE t (n INTEGER)")
	_, err := b.Exec(t.Context(), "SELECT * FROM t")
	wantCode(t, err, "42P01")
}

func newEngine(t *testing.T) *Engine {
	t.Helper()
	e, err := New()
	must(t, err)
	t.Cleanup(func() { must(t, e.Close()) })
	return e
}

// config dials e through a pipe.
func config(t *testing.T, e *Engine) *pgx.ConnConfig {
	t.Helper()
	config, err := pgx.ParseConfig("host=engine user=u database=d sslmode=disable")
	must(t, err)
	config.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
	config.DialFunc = func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go e.ServeConn(server)
		return client, nil
	}
	return config
}

func connect(t *testing.T, e *Engine) *pgx.Conn {
	t.Helper()
	conn, err := pgx.ConnectConfig(t.Context(), config(t, e))
	must(t, err)
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func openDB(t *testing.T, e *Engine, mode pgx.QueryExecMode) *sql.DB {
	t.Helper()
	config := config(t, e)
	config.DefaultQueryExecMode = mode
	db := stdlib.OpenDB(*config)
	t.Cleanup(func() { db.Close() })
	return db
}

func mustExec(t *testing.T, db *sql.DB, query string) {
	t.Helper()
	_, err := db.Exec(query)
	must(t, err)
}

func exec(t *testing.T, conn *pgx.Conn, query string) {
	t.Helper()
	_, err := conn.Exec(t.Context(), query)
	must(t, err)
}

// count returns the number of rows in the table t.
func count(t *testing.T, conn *pgx.Conn) (n int) {
	t.Helper()
	must(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM t").Scan(&n))
	return n
}

func want[T any](t *testing.T, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); !ok || pgErr.Code != code {
		t.Errorf("got %v, want %s", err, code)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
