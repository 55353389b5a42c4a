package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/tds"
	"github.com/cloudsqlconn/cloudsqlconn/examples/internal/exampletest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/testmain"
)

func TestMain(m *testing.M) { os.Exit(testmain.Run(m)) }

const dsn = "sqlserver://app:secret@localhost?database=shop&cloudsql=my-project:europe-west1:my-db"

// books is what the example's statements do. There is no SQL Server that a
// test could start; the server of the kit speaks its protocol and runs no SQL.
type books struct {
	mu     sync.Mutex // guards titles
	titles []any
}

func (b *books) handle(_ context.Context, q tds.Query) (tds.Result, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch q.Text {
	case createTable:
		return tds.Result{}, nil
	case insertBook:
		b.titles = append(b.titles, q.Params[0].Value)
		return tds.Result{Columns: []tds.Column{{Name: "id", Type: tds.Int}}, Rows: [][]any{{len(b.titles)}}}, nil
	case selectBook:
		title := b.titles[q.Params[0].Value.(int64)-1]
		return tds.Result{Columns: []tds.Column{{Name: "title", Type: tds.NVarChar}}, Rows: [][]any{{title}}}, nil
	}
	return tds.Result{}, fmt.Errorf("the example runs %q, which the test does not know", q.Text)
}

func TestAddsBooks(t *testing.T) {
	t.Parallel()
	server := &tds.Server{Users: map[string]string{"app": "secret"}, Handle: new(books).handle}
	cloud := exampletest.Emulate(t, cloudsqltest.Instance{DatabaseVersion: "SQLSERVER_2022_STANDARD", Handler: server.Serve})
	var out strings.Builder
	if err := run(t.Context(), dsn, []string{"Book One", "Book Two"}, &out, cloud.Options()...); err != nil {
		t.Fatal(err)
	}
	if want := "1 Book One\n2 Book Two\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
	if got := server.Sessions()[0].Login.Database; got != "shop" {
		t.Errorf("the database is %q", got)
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
