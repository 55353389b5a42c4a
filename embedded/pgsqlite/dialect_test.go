package pgsqlite

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// shown runs a query and returns its columns, and the values of its only row.
func shown(t *testing.T, conn *pgx.Conn, mode pgx.QueryExecMode, query string) string {
	t.Helper()
	rows, err := conn.Query(t.Context(), query, mode)
	must(t, err)
	defer rows.Close()
	var names []string
	for _, f := range rows.FieldDescriptions() {
		names = append(names, f.Name)
	}
	if !rows.Next() {
		t.Fatalf("%s: no row, %v", query, rows.Err())
	}
	values, err := rows.Values()
	must(t, err)
	return strings.Join(names, " ") + ": " + strings.Trim(fmt.Sprint(values), "[]")
}

func TestSpeaksAsPostgreSQLDoes(t *testing.T) {
	t.Parallel()
	conn := connect(t, newEngine(t))
	exec(t, conn, `CREATE TABLE public.t (id serial PRIMARY KEY, name text, key text DEFAULT gen_random_uuid());
		INSERT INTO t (name) VALUES ('Ann')`)
	for query, want := range map[string]string{
		"SELECT count(*), max(id) FROM t":                              "count max: 1 1",
		"SELECT count(*) AS \"how many\" FROM t":                       "how many: 1",
		"SELECT count(*)::int + 1, 1 FROM t":                           "?column? ?column?: 2 1",
		"SELECT id::text || '!' AS s, t.id::text FROM t":               "s id: 1! 1",
		"SELECT coalesce(name, 'x'), CASE id WHEN 1 THEN 2 END FROM t": "coalesce case: Ann 2",
		"SELECT name FROM public.t WHERE name ILIKE 'a%'":              "name: Ann",
		"SELECT length(key) FROM t":                                    "length: 36",
		"SELECT EXISTS (SELECT 1 FROM t), true":                        "exists bool: true true",
		"SELECT current_user, session_user, current_database()":        "current_user session_user current_database: u u d",
		"SELECT current_schema, pg_catalog.version()":                  "current_schema version: public PostgreSQL 15.0 (SQLite)",
		"SHOW server_version":                                          "server_version: 15.0 (SQLite)",
		"SHOW TRANSACTION ISOLATION LEVEL":                             "transaction_isolation: repeatable read",
		"SELECT current_setting('TimeZone')":                           "current_setting: UTC",
	} {
		for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeCacheStatement} {
			if got := shown(t, conn, mode, query); got != want {
				t.Errorf("%s: got %q, want %q", query, got, want)
			}
		}
	}
}

func TestCastsWhatPostgreSQLCasts(t *testing.T) {
	t.Parallel()
	conn := connect(t, newEngine(t))
	exec(t, conn, `CREATE TABLE t (a int, b text, "c d" text); INSERT INTO t VALUES (1, '2', '3')`)
	for query, want := range map[string]string{
		"SELECT (1+1)::int FROM t":                                                   "?column?: 2",
		"SELECT a FROM t WHERE (a+b)::text = '3'":                                    "a: 1",
		"SELECT a FROM t WHERE a = 1 AND (b)::int = 2":                               "a: 1",
		"SELECT a FROM t WHERE NOT (b)::int = 3 OR (b)::int = 4":                     "a: 1",
		"SELECT a FROM t WHERE a IN ((b)::int, (1)::int)":                            "a: 1",
		"SELECT a FROM t WHERE (a, b) IN (VALUES ((1)::int, (2)::text))":             "a: 1",
		"SELECT DISTINCT (b)::int + 1 FROM t GROUP BY (b)::int":                      "?column?: 3",
		"SELECT CASE WHEN (b)::int = 2 THEN (b)::int ELSE (a)::int END FROM t":       "case: 2",
		"SELECT CASE a WHEN 1 THEN CASE b WHEN '2' THEN 7 END END::text AS x FROM t": "x: 7",
		"SELECT a::varchar(10) || '!' AS x FROM t":                                   "x: 1!",
		"SELECT a::character varying(10) || '!' AS x FROM t":                         "x: 1!",
		"SELECT b::numeric(10,2) * 2 AS x FROM t":                                    "x: 4",
		"SELECT b::numeric(10, 2) precision FROM t":                                  "precision: 2",
		"SELECT a::double precision / 2 AS x, a::double precision FROM t":            "x a: 0.5 1",
		"SELECT now()::timestamp(3) with time zone IS NULL AS x":                     "x: 0",
		"SELECT count(*) FILTER (WHERE (b)::int = 2)::text || '!' AS x FROM t":       "x: 1!",
		"SELECT count(*) OVER ()::text || '!' AS x FROM t":                           "x: 1!",
		"SELECT abs(-a)::text || '!' AS x, t.a::text, t.\"c d\"::int FROM t":         "x a c d: 1! 1 3",
		`SELECT "a"::text, "c d"::text, "t".a::text FROM t`:                          "a c d a: 1 3 1",
	} {
		for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeCacheStatement} {
			if got := shown(t, conn, mode, query); got != want {
				t.Errorf("%s: got %q, want %q", query, got, want)
			}
		}
	}
}

// What a statement of many rows needs must not grow with the square of them. It counts, so nothing runs beside it.
func TestLongStatementsNeedNoCopyPerToken(t *testing.T) {
	tokens := split("INSERT INTO t VALUES (1, 'a')" + strings.Repeat(", (1, 'a')", 4000))[0]
	if n := testing.AllocsPerRun(1, func() { standard(tokens) }); n > float64(len(tokens))/2 {
		t.Errorf("%v allocations for %d tokens", n, len(tokens))
	}
}

func TestRemembersSettings(t *testing.T) {
	t.Parallel()
	config := config(t, newEngine(t))
	config.RuntimeParams["application_name"] = "first"
	conn, err := pgx.ConnectConfig(t.Context(), config)
	must(t, err)
	defer conn.Close(context.Background())
	for _, tt := range []struct{ set, show, want string }{
		{"SET search_path = a, \"B\"", "search_path", "a, B"},
		{"SET SESSION extra_float_digits TO 3", "extra_float_digits", "3"},
		{"SET LOCAL app.user = 'it''s'", "app.user", "it's"},
		{"SET TIME ZONE 'Europe/Madrid'", "timezone", "Europe/Madrid"},
		{"SET timezone TO DEFAULT", "timezone", "UTC"},
		{"SET NAMES 'UTF8'", "client_encoding", "UTF8"},
		{"SET TRANSACTION READ ONLY", "transaction_read_only", "off"},
		{"RESET search_path", "search_path", "public"},
		{"SET TIME ZONE 'Europe/Madrid'", "timezone", "Europe/Madrid"},
		{"RESET TIME ZONE", "timezone", "UTC"},
		{"SET application_name = 'q'", "application_name", "q"},
		{"RESET application_name", "application_name", "first"},
		{"SET application_name = 'r'", "application_name", "r"},
		{"RESET ALL", "application_name", "first"},
		{"SET app.other = 1", "app.other", "1"},
		{"RESET app.other", "app.other", ""},
		{"RESET ALL", "app.user", ""},
	} {
		tag, err := conn.Exec(t.Context(), tt.set)
		must(t, err)
		want(t, tag.String(), strings.Fields(tt.set)[0])
		var got string
		err = conn.QueryRow(t.Context(), "SHOW "+tt.show, pgx.QueryExecModeSimpleProtocol).Scan(&got)
		if tt.want == "" {
			wantCode(t, err, "42704")
			continue
		}
		must(t, err)
		want(t, got, tt.want)
	}
}

func TestPasswordIsAskedFor(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	config := config(t, e)
	config.DialFunc = func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go e.ServeConnWithPassword(server, "u", "secret")
		return client, nil
	}
	for _, tt := range []struct {
		user, password string
		ok             bool
	}{{"u", "secret", true}, {"u", "wrong", false}, {"u", "", false}, {"v", "secret", false}} {
		config.User, config.Password = tt.user, tt.password
		conn, err := pgx.ConnectConfig(t.Context(), config)
		if !tt.ok {
			wantCode(t, err, "28P01")
			continue
		}
		must(t, err)
		want(t, shown(t, conn, pgx.QueryExecModeExec, "SELECT current_user"), "current_user: u")
		must(t, conn.Close(t.Context()))
	}
}

// A timestamp in text has PostgreSQL's form of a zone.
func TestTimesInTextHaveAnOffset(t *testing.T) {
	t.Parallel()
	conn := connect(t, newEngine(t))
	results, err := conn.PgConn().Exec(t.Context(), "SELECT now()").ReadAll()
	must(t, err)
	if got := string(results[0].Rows[0][0]); !strings.HasSuffix(got, "+00") {
		t.Errorf("got %s", got)
	}
}

func FuzzSet(f *testing.F) {
	for _, seed := range []string{"SET a TO 'b'", "SET", "RESET ALL", "SET SESSION a", "SET TIME ZONE", "SET a = '", "SELECT 1::int::text, (2)::int, f(1)::text", "SELECT END::text, )::int, OVER ()::char(1), (::int"} {
		f.Add(seed)
	}
	f.Fuzz(func(_ *testing.T, sql string) {
		s := &session{settings: newSettings("u", ""), original: newSettings("u", "")}
		for _, tokens := range split(sql) {
			set, _ := parseSet(tokens)
			s.change(set)
			_, _ = s.parseShow(tokens)
			tokens = standard(tokens)
			_, _ = s.rewrite(tokens, make([]uint32, len(tokens)))
			columnName(strings.Join(tokens, " "), tokens)
		}
	})
}

// Whoever tests with this writes PostgreSQL's SQL, and takes a refusal of it for a
// mistake of their own unless told.
func TestErrorsSayThatThisIsSQLite(t *testing.T) {
	t.Parallel()
	conn := connect(t, newEngine(t))
	exec(t, conn, "CREATE TABLE t (id bigint PRIMARY KEY, at timestamptz DEFAULT now())")
	for _, query := range []string{
		"SELECT id FROM t WHERE id = ANY('{1}')",
		"SELECT id FROM t FOR UPDATE SKIP LOCKED",
		"SELECT id FROM t WHERE at > now() - interval '1 day'",
		"SELECT now() - interval '1 day'",
		"SELECT date_trunc('day', at) FROM t",
		"SELECT extract(year from at) FROM t",
		"SELECT to_char(at, 'YYYY') FROM t",
		"SELECT array_agg(id) FROM t",
		"SELECT greatest(1, 2)",
		"SELECT DISTINCT ON (at) id FROM t",
		"SELECT at ~ '^a' FROM t",
		"WITH x AS (INSERT INTO t VALUES (1) RETURNING id) SELECT id FROM x",
		"ALTER TABLE t ADD COLUMN IF NOT EXISTS note text",
	} {
		_, err := conn.Exec(t.Context(), query)
		if e, ok := errors.AsType[*pgconn.PgError](err); !ok || !strings.HasSuffix(e.Message, "this is SQLite behind PostgreSQL's protocol") {
			t.Errorf("%s: %v", query, err)
		}
	}
}
