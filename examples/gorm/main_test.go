package main

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/tds"
	"github.com/cloudsqlconn/cloudsqlconn/examples/internal/exampletest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/testmain"
)

func TestMain(m *testing.M) { os.Exit(testmain.Run(m)) }

const (
	postgresDSN  = "postgres://app:secret@/shop?host=my-project:europe-west1:my-db"
	mysqlDSN     = "app:secret@cloudsql-mysql(my-project:europe-west1:my-db)/shop?parseTime=true"
	sqlserverDSN = "sqlserver://app:secret@localhost?database=shop&cloudsql=my-project:europe-west1:my-db"
)

func TestAddsAndListsBooks(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, dsn string
		start     func(*testing.T) *exampletest.Cloud
	}{
		{"PostgreSQL", postgresDSN, func(t *testing.T) *exampletest.Cloud { return exampletest.Postgres(t) }},
		{"MariaDB", mysqlDSN, exampletest.MariaDB},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cloud := tt.start(t)
			for _, want := range []string{"1 Book One\n", "1 Book One\n2 Book One\n"} {
				var out strings.Builder
				if err := run(t.Context(), tt.dsn, []string{"Book One"}, &out, cloud.Options()...); err != nil {
					t.Fatal(err)
				}
				if out.String() != want {
					t.Errorf("got %q, want %q", out.String(), want)
				}
			}
		})
	}
}

// The server runs no SQL: GORM's statements reach it, and it answers.
func TestSpeaksToSQLServer(t *testing.T) {
	t.Parallel()
	server := &tds.Server{Users: map[string]string{"app": "secret"}, Handle: func(_ context.Context, q tds.Query) (tds.Result, error) {
		id, title := tds.Column{Name: "id", Type: tds.BigInt}, tds.Column{Name: "title", Type: tds.NVarChar}
		switch {
		case strings.HasPrefix(q.Text, "SELECT DB_NAME"):
			return tds.Result{Columns: []tds.Column{title}, Rows: [][]any{{"shop"}}}, nil
		case strings.HasPrefix(q.Text, "SELECT count"): // is there such a table?
			return tds.Result{Columns: []tds.Column{id}, Rows: [][]any{{0}}}, nil
		case strings.HasPrefix(q.Text, "INSERT"):
			return tds.Result{Columns: []tds.Column{id}, Rows: [][]any{{1}}}, nil
		case strings.HasPrefix(q.Text, "SELECT * FROM"):
			return tds.Result{Columns: []tds.Column{id, title}, Rows: [][]any{{1, "Book One"}}}, nil
		}
		return tds.Result{}, nil
	}}
	cloud := exampletest.Emulate(t, cloudsqltest.Instance{DatabaseVersion: "SQLSERVER_2022_STANDARD", Handler: server.Serve})
	var out strings.Builder
	if err := run(t.Context(), sqlserverDSN, []string{"Book One"}, &out, cloud.Options()...); err != nil {
		t.Fatal(err)
	}
	if want := "1 Book One\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
	var statements []string
	for _, session := range server.Sessions() {
		for _, q := range session.Queries {
			statements = append(statements, q.Text)
		}
	}
	for _, want := range []string{"CREATE TABLE", "INSERT INTO"} {
		if !strings.Contains(strings.Join(statements, "\n"), want) {
			t.Errorf("no %s among %q", want, statements)
		}
	}
}

func TestSaysWhatToDoWithoutPermission(t *testing.T) {
	t.Parallel()
	for _, dsn := range []string{postgresDSN, mysqlDSN, sqlserverDSN} {
		var out strings.Builder
		report(&out, run(t.Context(), dsn, nil, &out, exampletest.Forbid(t).Options()...))
		if !strings.Contains(out.String(), exampletest.Hint) {
			t.Errorf("with %s: got %q", dsn, out.String())
		}
	}
}
