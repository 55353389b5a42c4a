package pgsqlite

import (
	"database/sql"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
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

// Maps and structs need no marshalling, as with PostgreSQL.
func TestJSONTakesAndGivesValues(t *testing.T) {
	t.Parallel()
	type shape struct {
		Sides int    `json:"sides"`
		Name  string `json:"name"`
	}
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec} {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			conn := connect(t, newEngine(t))
			exec(t, conn, `CREATE TABLE things (id int, a jsonb, b json)`)
			run := func(query string, args ...any) error {
				_, err := conn.Exec(t.Context(), query, append([]any{mode}, args...)...)
				return err
			}
			square := shape{4, "square"}
			must(t, run(`INSERT INTO things VALUES ($1, $2, $3)`, 1, square, map[string]any{"x": 1.5}))
			must(t, run(`INSERT INTO things (id, a, b) VALUES ($1, $2::jsonb, '{"x": 2.5}')`, 2, `{"sides": 3, "name": "triangle"}`))
			must(t, run(`UPDATE things SET b = $1 WHERE id = $2`, nil, 2))
			var got shape
			var b map[string]any
			must(t, conn.QueryRow(t.Context(), `SELECT a, b FROM things WHERE a->>'name' = $1`, mode, "square").Scan(&got, &b))
			want(t, got, square)
			want(t, b["x"], any(1.5))
			must(t, conn.QueryRow(t.Context(), `SELECT a, b FROM things WHERE a->>'sides' = 3`, mode).Scan(&got, &b))
			want(t, got, shape{3, "triangle"})
			want(t, b == nil, true)
			var text string
			must(t, conn.QueryRow(t.Context(), `SELECT a FROM things WHERE id = $1`, mode, 2).Scan(&text))
			want(t, text, `{"sides": 3, "name": "triangle"}`)
			wantCode(t, run(`UPDATE things SET a = $1`, "no JSON"), "22P02")
		})
	}
}
