package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/dbtest"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/tds"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/testmain"
)

func TestMain(m *testing.M) { os.Exit(testmain.Run(m)) }

const (
	name     = "my-project:europe-west1:orders"
	password = "secret-w0rd @/:?#%+"
)

// secrets are what no report may name.
var secrets = []string{"my-project", "orders", "app@", "'app'", `"app"`, "secret-w0rd", "shop", "127."}

// report runs the command against the kit.
func report(t *testing.T, kit *cloudsqltest.Server, password string, args ...string) (code int, text string) {
	t.Helper()
	var out, stderr bytes.Buffer
	code = run(t.Context(), args, password, &out, &stderr, kit.Options()...)
	if !strings.Contains(stderr.String(), "paste the report") {
		t.Fatalf("exit status %d: %s", code, &stderr)
	}
	for _, s := range secrets {
		if strings.Contains(out.String(), s) {
			t.Errorf("the report names %s:\n%s", s, &out)
		}
	}
	return code, out.String()
}

func wantWorks(t *testing.T, kit *cloudsqltest.Server, title, password string, args ...string) {
	t.Helper()
	code, text := report(t, kit, password, args...)
	if code != 0 || !strings.Contains(text, "\n"+title+"\n") || strings.Count(text, "| ok |") < 12 || !strings.HasSuffix(text, "\nEverything works.\n") {
		t.Errorf("%s: exit status %d\n%s", title, code, text)
	}
}

func wantFails(t *testing.T, kit *cloudsqltest.Server, password string, args []string, want ...string) {
	t.Helper()
	code, text := report(t, kit, password, args...)
	for _, w := range want {
		if code != 1 || !strings.Contains(text, w) {
			t.Errorf("exit status %d, want 1 and %s\n%s", code, w, text)
		}
	}
}

const nobody = "| five connections at once | skipped | 0 | no login |"

func TestReportOfPostgreSQL(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t, dbtest.PostgreSQL, `CREATE ROLE "app@my-project.iam" LOGIN PASSWORD '`+password+`'`, "CREATE DATABASE shop")
	kit := cloudsqltest.NewServer()
	defer kit.Close()
	proxy := kit.AddInstance(name, db.Instance())
	args := []string{"-postgres", name, "-user", "app@my-project.iam", "-db", "shop"}
	wantWorks(t, kit, "PostgreSQL, login with a password", password, args...)
	wantWorks(t, kit, "PostgreSQL, IAM login", "", "-postgres", name, "-user", "app@my-project.iam.gserviceaccount.com")
	wantFails(t, kit, "wrong", args, "| login and query | failed |", "28P01", nobody, "\n1 of ")
	proxy.Stop()
	wantFails(t, kit, password, args, "| TCP | failed |", "nobody could log in")
}

func TestReportOfMySQL(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t, dbtest.MariaDB, "CREATE USER 'app'@'%' IDENTIFIED BY '"+password+"'", "CREATE USER 'app'@'localhost'")
	kit := cloudsqltest.NewServer()
	defer kit.Close()
	kit.AddInstance(name, db.Instance())
	wantWorks(t, kit, "MySQL, login with a password", password, "-mysql", name, "-user", "app")
	iam := []string{"-mysql", name, "-user", "app@my-project.iam.gserviceaccount.com"}
	wantWorks(t, kit, "MySQL, IAM login", "", iam...)
	wantFails(t, kit, "no", []string{"-mysql", name, "-user", "app"}, "'USER'@", nobody)
	others := cloudsqltest.NewServer()
	defer others.Close()
	others.Principals = map[string]string{others.LoginToken(): "somebody@example.com"}
	others.AddInstance(name, db.Instance())
	wantFails(t, others, "", iam, "'USER'@", nobody)
}

// sqlServer is a SQL Server that knows what is asked of it, and nothing else.
func sqlServer() *tds.Server {
	return &tds.Server{
		Users: map[string]string{"app": password},
		Handle: func(ctx context.Context, q tds.Query) (tds.Result, error) {
			switch q.Text {
			case "SELECT CAST(SERVERPROPERTY('ProductVersion') AS varchar(40))":
				return tds.Result{Columns: []tds.Column{{Type: tds.NVarChar}}, Rows: [][]any{{"16.0.4135.4"}}}, nil
			case "WAITFOR DELAY '00:01:00'":
				<-ctx.Done()
				return tds.Result{}, ctx.Err()
			}
			return tds.Result{}, &tds.Error{Number: 102, Class: 15, Message: "Incorrect syntax near 'app'."}
		},
	}
}

// No real SQL Server can be installed for a test: this is the kit's.
func TestReportOfSQLServer(t *testing.T) {
	t.Parallel()
	db := sqlServer()
	kit := cloudsqltest.NewServer()
	defer kit.Close()
	kit.AddInstance(name, cloudsqltest.Instance{DatabaseVersion: "SQLSERVER_2022_STANDARD", Handler: db.Serve})
	args := []string{"-sqlserver", name, "-user", "app"}
	code, text := report(t, kit, password, append(args, "-db", "shop")...)
	if code != 0 || !strings.Contains(text, "\nSQL Server, login with a password\n") || !strings.Contains(text, "| 16.0.4135.4 |") || !strings.HasSuffix(text, "\nEverything works.\n") {
		t.Errorf("exit status %d\n%s", code, text)
	}
	versions, given := 0, false
	for _, s := range db.Sessions() {
		if s.User == "" {
			continue // Dialer.Check does not log in
		}
		if s.User != "app" || s.Login.Database != "shop" {
			t.Errorf("a login as %q to %q", s.User, s.Login.Database)
		}
		for _, q := range s.Queries {
			if strings.HasPrefix(q.Text, "SELECT CAST") {
				versions++
			}
			// On a busy machine go-mssqldb gives up others as well: their rows are
			// closed before it has read the end.
			given = given || strings.HasPrefix(q.Text, "WAITFOR") && s.Attentions > 0
		}
	}
	if versions != 6 || !given {
		t.Errorf("%d queries for the version, want 6; one was given up: %v", versions, given)
	}
	wantFails(t, kit, "wrong", args, "18456", "'USER'", nobody)

	deaf := sqlServer()
	deaf.Handle = nil // its "select 1" succeeds
	kit.AddInstance("my-project:europe-west1:deaf", cloudsqltest.Instance{DatabaseVersion: "SQLSERVER_2022_STANDARD", Handler: deaf.Serve})
	wantFails(t, kit, password, []string{"-sqlserver", "my-project:europe-west1:deaf", "-user", "app"}, "| login and query | failed |")
}

func TestWrongCommandLinesAreRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		password, args, want string
	}{
		{"", "", "want at least one of"},
		{"", "-postgres " + name + " more", "no other arguments"},
		{"", "-postgres orders", "is not an instance connection name"},
		{"", "-oracle " + name, "-oracle"},
		{"secret", "-postgres " + name, "want -user"},
		{"", "-sqlserver " + name + " -user app", "has no IAM login"},
		{"", "-postgres " + name + " -ip-types HOME", "HOME"},
	} {
		var out, stderr bytes.Buffer
		if code := run(t.Context(), strings.Fields(tt.args), tt.password, &out, &stderr); code != 2 || !strings.Contains(stderr.String(), tt.want) || out.Len() > 0 {
			t.Errorf("%s: exit status %d, %s%s", tt.args, code, &stderr, &out)
		}
	}
}

func TestHelpHasExamples(t *testing.T) {
	t.Parallel()
	var out, stderr bytes.Buffer
	if code := run(t.Context(), []string{"-h"}, "", &out, &stderr); code != 0 || !strings.Contains(out.String(), "PROVE_PASSWORD=") || stderr.Len() > 0 {
		t.Errorf("exit status %d, %s%s", code, &stderr, &out)
	}
}

func TestNamesAreHiddenAndWordsAreNot(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("USERPROFILE", home) // on Windows
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", filepath.Join("keys", "shop-1a2b3c.json"))
	t.Setenv("HTTPS_PROXY", "http://gate.example.com:8080")
	h := newHider("my-project:europe-west1:x", account{user: "me@example.com", database: "in", password: "ok"})
	h.learn(cloudsqlconn.Step{Hop: cloudsqlconn.HopTCP, Target: "db.example.com:3307"})
	for text, want := range map[string]string{
		"certificate of my-project:x, expires 13:05:43":     "certificate of INSTANCE, expires 13:05:43",
		"Access denied for user 'me'@'10.1.2.3', me@my.iam": "Access denied for user 'USER'@'ADDRESS', ACCOUNT",
		"dial tcp [fd00::1:2]:3307: refused by fd00::3: no": "dial tcp [ADDRESS]:3307: refused by ADDRESS: no",
		"the time is 2026-11-30T13:05:43Z, in-memory":       "the time is 2026-11-30T13:05:43Z, DATABASE-memory",
		"lookup db.example.com.: 1-2.europe-west1.sql.goog": "lookup ADDRESS.: NAME",
		"open " + filepath.Join(home, "adc.json"):           "open " + filepath.Join("~", "adc.json"),
		"open shop-1a2b3c.json, via gate.example.com:8080":  "open FILE, via PROXY:8080",
		"it has not been used in project 123456789012|\n":   `it has not been used DATABASE project NUMBER\| `,
	} {
		if got := h.hide(text); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}
