package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/examples/internal/exampletest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/testmain"
)

func TestMain(m *testing.M) { os.Exit(testmain.Run(m)) }

const dsn = "app:secret@cloudsql-mysql(my-project:europe-west1:my-db)/shop?parseTime=true"

func TestAddsAndListsBooks(t *testing.T) {
	t.Parallel()
	cloud := exampletest.MariaDB(t)
	var out strings.Builder
	if err := run(t.Context(), dsn, []string{"Book One", "Book Two"}, &out, cloud.Options()...); err != nil {
		t.Fatal(err)
	}
	year := time.Now().UTC().Year()
	want := fmt.Sprintf("1 Book One, added in %d\n2 Book Two, added in %d\n", year, year)
	if out.String() != want {
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
