package pgsqlite_test

import (
	"os"
	"strings"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/driver/postgres"
	"github.com/cloudsqlconn/cloudsqlconn/embedded/pgsqlite"
)

// The code of the module's README, which must have it as it is here.
func TestReadme(t *testing.T) {
	t.Parallel()
	engine, err := pgsqlite.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = engine.Close() })
	server := cloudsqltest.NewServer()
	t.Cleanup(server.Close)
	server.AddInstance("my-project:europe-west1:my-db", cloudsqltest.Instance{Handler: engine.ServeConn})
	dialer, err := cloudsqlconn.NewDialer(t.Context(), server.Options()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dialer.Close() })
	pool, err := postgres.NewPool(t.Context(), dialer, "host=my-project:europe-west1:my-db user=app dbname=shop")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	if err := pool.Ping(t.Context()); err != nil {
		t.Error(err)
	}

	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("readme_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, snippet, found := strings.Cut(string(readme), "```go\n")
	snippet, _, _ = strings.Cut(snippet, "```")
	if !found || !strings.Contains(strings.ReplaceAll(string(source), "\n\t", "\n"), snippet) {
		t.Errorf("the README has code that is not here:\n%s", snippet)
	}
}
