package libraries

import (
	"context"
	"crypto/rand"
	"database/sql"
	"database/sql/driver"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/dbtest"
	"github.com/cloudsqlconn/cloudsqlconn/driver/mysql"
	"github.com/cloudsqlconn/cloudsqlconn/driver/postgres"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/testmain"
)

func TestMain(m *testing.M) { os.Exit(testmain.Run(m)) }

const (
	instance = "my-project:europe-west1:my-db"
	dsn      = "host=" + instance + " user=app password=secret dbname=shop"
	title    = "Book One" // of the book 1
)

// cloud is an instance with a real database, and a Dialer for it.
type cloud struct {
	t *testing.T
	*cloudsqltest.Server
	emulated *cloudsqltest.EmulatedInstance
	dialer   *cloudsqlconn.Dialer
}

func newCloud(t *testing.T, db *dbtest.Server) *cloud {
	t.Helper()
	c := &cloud{t: t, Server: cloudsqltest.NewServer()}
	t.Cleanup(c.Close)
	c.emulated = c.AddInstance(instance, db.Instance())
	var err error
	c.dialer, err = cloudsqlconn.NewDialer(t.Context(), c.Options()...)
	wantNil(t, err)
	t.Cleanup(func() { wantNil(t, c.dialer.Close()) })
	return c
}

func (c *cloud) connector() driver.Connector {
	c.t.Helper()
	connector, err := postgres.NewConnector(c.dialer, dsn)
	wantNil(c.t, err)
	return connector
}

// pool returns a pool that the test closes, if the library does not.
func (c *cloud) pool() *sql.DB {
	c.t.Helper()
	pool := sql.OpenDB(c.connector())
	c.t.Cleanup(func() { wantNil(c.t, pool.Close()) })
	return pool
}

// registered returns the name of a driver that leads to the instance.
func (c *cloud) registered(register func(string, ...cloudsqlconn.Option) (func() error, error)) string {
	c.t.Helper()
	name := "cloudsql-" + rand.Text()
	cleanup, err := register(name, c.Options()...)
	wantNil(c.t, err)
	c.t.Cleanup(func() { wantNil(c.t, cleanup()) })
	return name
}

// uses are, for the first cells of the rows of LIBRARIES.md, what shows that the
// row is right, on PostgreSQL.
var uses = map[string]func(*testing.T, *cloud){
	"pgxpool, with a tracer, AfterConnect and types": func(t *testing.T, c *cloud) {
		tracer := new(queries)
		pool, err := pgxPool(t.Context(), c.dialer, dsn, tracer)
		wantNil(t, err)
		defer pool.Close()
		got, err := moods(t.Context(), pool)
		if err != nil || !slices.Equal(got, []Mood{"sad", "glad"}) {
			t.Errorf("got %v, %v", got, err)
		}
		if tracer.n.Load() == 0 {
			t.Error("the tracer has seen nothing")
		}
	},
	"GORM": func(t *testing.T, c *cloud) { wantTitle(t)(gormWith(t.Context(), c.pool())) },
	"Bun":  func(t *testing.T, c *cloud) { wantTitle(t)(bunTitle(t.Context(), c.pool())) },
	"ent":  func(t *testing.T, c *cloud) { wantTitle(t)(entTitle(t.Context(), c.pool())) },
	"sqlx": func(t *testing.T, c *cloud) { wantTitle(t)(sqlxWith(t.Context(), c.pool())) },
	"sqlx, by name": func(t *testing.T, c *cloud) {
		wantTitle(t)(sqlxOpen(t.Context(), c.registered(postgres.RegisterDriver), dsn))
	},
	"sqlc, with pgx": func(t *testing.T, c *cloud) {
		pool, err := postgres.NewPool(t.Context(), c.dialer, dsn)
		wantNil(t, err)
		defer pool.Close()
		wantTitle(t)(sqlcPGX(t.Context(), pool))
	},
	"sqlc, with database/sql": func(t *testing.T, c *cloud) { wantTitle(t)(sqlcSQL(t.Context(), c.pool())) },
	"otelsql": func(t *testing.T, c *cloud) {
		wantSpans(t, func(p *trace.TracerProvider) *sql.DB { return otelWith(c.connector(), p) })
	},
	"otelsql, by name": func(t *testing.T, c *cloud) {
		wantSpans(t, func(p *trace.TracerProvider) *sql.DB {
			pool, err := otelOpen(c.registered(postgres.RegisterDriver), dsn, p)
			wantNil(t, err)
			return pool
		})
	},
	"golang-migrate": func(t *testing.T, c *cloud) { wantNil(t, migrateWith(c.pool())) },
	"golang-migrate, by URL": func(t *testing.T, c *cloud) {
		wantNil(t, migrateURL(t.Context(), c.dialer, instance, url.UserPassword("app", "secret"), "shop"))
	},
	"goose": func(t *testing.T, c *cloud) {
		wantNil(t, gooseUp(t.Context(), c.pool()))
		_, err := c.pool().ExecContext(t.Context(), "INSERT INTO goose_books (title) VALUES ('A')")
		wantNil(t, err)
	},
	"atlas": func(t *testing.T, c *cloud) {
		tables, err := atlasTables(t.Context(), c.pool(), "public")
		if err != nil || !slices.Contains(tables, "books") {
			t.Errorf("got the tables %q, %v", tables, err)
		}
	},
	"lib/pq": func(t *testing.T, c *cloud) {
		pool, err := pqPool(c.dialer, dsn+" sslmode=disable")
		wantNil(t, err)
		defer pool.Close()
		wantTitle(t)(sqlcSQL(t.Context(), pool))
	},
}

// uncalled are the rows for which there is nothing to run here.
var uncalled = map[string]string{
	"GORM for MySQL, as it is":    "TestGORMsDialectorOfMySQLIsAsItIs",
	"squirrel and other builders": "",
}

func TestEachLibraryWorksThroughTheInstance(t *testing.T) {
	t.Parallel()
	books, err := os.ReadFile("sqlc/schema.sql")
	wantNil(t, err)
	db := dbtest.New(t, dbtest.PostgreSQL,
		"CREATE ROLE app LOGIN PASSWORD 'secret'", "CREATE DATABASE shop OWNER app", `\connect shop`,
		"CREATE TYPE mood AS ENUM ('glad', 'sad')",
		string(books), "INSERT INTO books (title) VALUES ('Book One')",
		"ALTER TABLE books OWNER TO app", "GRANT ALL ON SCHEMA public TO app")
	for what, use := range uses {
		t.Run(what, func(t *testing.T) {
			c := newCloud(t, db)
			use(t, c)
			if c.emulated.Accepted() == 0 {
				t.Error("nobody has connected to the instance")
			}
		})
	}
}

func TestGORMsDialectorOfMySQLIsAsItIs(t *testing.T) {
	t.Parallel()
	for _, engine := range []dbtest.Engine{dbtest.MariaDB, dbtest.MySQL} {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			c := newCloud(t, dbtest.New(t, engine, "CREATE DATABASE shop",
				"CREATE USER app@'127.0.0.1' IDENTIFIED BY 'secret'", "GRANT ALL ON shop.* TO app@'127.0.0.1'"))
			name := c.registered(mysql.RegisterDriver)
			wantTitle(t)(gormMySQL(t.Context(), "app:secret@"+name+"("+instance+")/shop?parseTime=true"))
			if c.emulated.Accepted() == 0 {
				t.Error("nobody has connected to the instance")
			}
		})
	}
}

func TestEachRowOfLIBRARIESIsRun(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../LIBRARIES.md")
	wantNil(t, err)
	source := ""
	files, err := os.ReadDir(".")
	wantNil(t, err)
	for _, f := range files {
		if strings.HasSuffix(f.Name(), ".go") {
			b, err := os.ReadFile(f.Name())
			wantNil(t, err)
			source += string(b)
		}
	}
	rows := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, " | ")
		what, ok := strings.CutPrefix(cells[0], "| ")
		if !ok || what == "library" {
			continue
		}
		rows[what] = true
		if _, ok := uncalled[what]; !ok && uses[what] == nil {
			t.Errorf("nothing runs the row %s", what)
		}
		for i, code := range strings.Split(line, "`") {
			if i%2 == 1 && !strings.Contains(source, code) {
				t.Errorf("%s: %s is not compiled", what, code)
			}
		}
	}
	for what := range uses {
		if !rows[what] {
			t.Errorf("no row: %s", what)
		}
	}
	for what := range uncalled {
		if !rows[what] {
			t.Errorf("no row: %s", what)
		}
	}
}

// queries counts queries.
type queries struct{ n atomic.Int64 }

func (q *queries) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	q.n.Add(1)
	return ctx
}

func (q *queries) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// wantSpans wants the query of a pool to be a span.
func wantSpans(t *testing.T, open func(*trace.TracerProvider) *sql.DB) {
	t.Helper()
	spans := tracetest.NewInMemoryExporter()
	provider := trace.NewTracerProvider(trace.WithSyncer(spans))
	defer func() { wantNil(t, provider.Shutdown(t.Context())) }()
	pool := open(provider)
	defer pool.Close()
	wantTitle(t)(sqlcSQL(t.Context(), pool))
	if !slices.ContainsFunc(spans.GetSpans(), func(s tracetest.SpanStub) bool { return s.Name == "sql.conn.query" }) {
		t.Errorf("no span of the query among %v", spans.GetSpans())
	}
}

func wantTitle(t *testing.T) func(string, error) {
	return func(got string, err error) {
		t.Helper()
		if err != nil || got != title {
			t.Errorf("got %q, %v, want %q", got, err, title)
		}
	}
}

func wantNil(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
