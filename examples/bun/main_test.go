package main

import (
	"os"
	"strings"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn/examples/internal/exampletest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/testmain"
)

func TestMain(m *testing.M) { os.Exit(testmain.Run(m)) }

const dsn = "host=my-project:europe-west1:my-db user=app password=secret dbname=shop"

func TestAddsAndListsBooks(t *testing.T) {
	t.Parallel()
	cloud := exampletest.Postgres(t)
	var out strings.Builder
	if err := run(t.Context(), dsn, []string{"Book One", "Book Two"}, &out, cloud.Options()...); err != nil {
		t.Fatal(err)
	}
	if want := "1 Book One\n2 Book Two\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestSaysWhatToDoWithoutPermission(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	report(&out, run(t.Context(), dsn, nil, &out, exampletest.Forbid(t).Options()...))
	if !strings.Contains(out.String(), exampletest.Hint) {
		t.Errorf("got %q", out.String())
	}
}
