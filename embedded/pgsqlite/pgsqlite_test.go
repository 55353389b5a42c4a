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

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

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
