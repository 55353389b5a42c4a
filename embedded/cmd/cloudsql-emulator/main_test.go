package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"

	gomysql "github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/sirupsen/logrus"
	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/driver/mysql"
	"github.com/cloudsqlconn/cloudsqlconn/driver/postgres"
	"github.com/cloudsqlconn/cloudsqlconn/internal/emulator"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/testmain"
)

func TestMain(m *testing.M) {
	logrus.SetLevel(logrus.ErrorLevel)
	os.Exit(testmain.Run(m))
}

// instance is what the emulator calls it unless it is told.
const instance = "my-project:europe-west1:my-db"

func wantNil(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// output is what the program writes, while it writes.
type output struct {
	mu   sync.Mutex // guards everything below
	text bytes.Buffer
	said chan struct{} // closed at the first write
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.text.Len() == 0 {
		defer close(o.said)
	}
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// start runs the program until the end of the test, and returns a Dialer that
// uses what it prints.
func start(t *testing.T, args ...string) *cloudsqlconn.Dialer {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	stdout, stderr := &output{said: make(chan struct{})}, &output{said: make(chan struct{})}
	ended := make(chan int, 1)
	var wg sync.WaitGroup
	wg.Go(func() {
		ended <- emulator.Run(ctx, append([]string{"-listen", "127.0.0.1:0", "-control", "none", "-backend", "embedded"}, args...), stdout, stderr, databases)
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		if code := <-ended; code != 0 {
			t.Errorf("exit code %d: %s", code, stderr)
		}
	})
	select {
	case <-stdout.said:
	case code := <-ended:
		ended <- code
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	value := func(word string) string {
		m := regexp.MustCompile(`(?m)^` + word + ` +(\S+)`).FindStringSubmatch(stdout.String())
		if m == nil {
			t.Fatalf("the output has no %q:\n%s", word, stdout)
		}
		return m[1]
	}
	source := func(word string) oauth2.TokenSource {
		return oauth2.StaticTokenSource(&oauth2.Token{AccessToken: value(word)})
	}
	d, err := cloudsqlconn.NewDialer(t.Context(), cloudsqlconn.WithAdminAPIEndpoint(value("Admin API")),
		cloudsqlconn.WithIAMAuthNTokenSources(source("token"), source("login token")))
	wantNil(t, err)
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func TestPostgresServesPasswordAndIAMLogins(t *testing.T) {
	t.Parallel()
	d := start(t, "-engine", "postgres")
	login := func(dsn string, opts ...cloudsqlconn.DialOption) (user string, err error) {
		connector, err := postgres.NewConnector(d, "host="+instance+" dbname=app "+dsn, opts...)
		wantNil(t, err)
		db := sql.OpenDB(connector)
		defer db.Close()
		err = db.QueryRowContext(t.Context(), "SELECT current_user").Scan(&user)
		return user, err
	}
	iam := cloudsqlconn.WithIAMAuthN(true)
	if got, err := login("user=app password=app"); err != nil || got != "app" {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := login("user=app@my-project.iam", iam); err != nil || got != "app@my-project.iam" {
		t.Errorf("got %q, %v", got, err)
	}
	var refused *pgconn.PgError
	if _, err := login("user=app password=wrong"); !errors.As(err, &refused) || refused.Code != "28P01" {
		t.Errorf("wrong password: got %v, want 28P01", err)
	}
	for _, other := range []string{"app", "other@example.com"} {
		if _, err := login("user="+other, iam); !errors.As(err, &refused) || refused.Code != "28000" {
			t.Errorf("%s, which is not the principal's user: got %v, want 28000", other, err)
		}
	}
	d = start(t, "-engine", "postgres", "-any-iam-user")
	if got, err := login("user=other@example.com", iam); err != nil || got != "other@example.com" {
		t.Errorf("anybody: got %q, %v", got, err)
	}
}

func TestMySQLServesPasswordAndIAMLogins(t *testing.T) {
	t.Parallel()
	d := start(t, "-engine", "mysql", "-principal", "ann@example.com")
	login := func(user string, opts ...cloudsqlconn.DialOption) (got string, err error) {
		connector, err := mysql.NewConnector(d, user+"@cloudsql-mysql("+instance+")/app", opts...)
		wantNil(t, err)
		db := sql.OpenDB(connector)
		defer db.Close()
		err = db.QueryRowContext(t.Context(), "SELECT CURRENT_USER()").Scan(&got)
		return got, err
	}
	iam := cloudsqlconn.WithIAMAuthN(true)
	if got, err := login("app:app"); err != nil || got != "app@localhost" {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := login("ann", iam); err != nil || got != "ann@localhost" {
		t.Errorf("got %q, %v", got, err)
	}
	var refused *gomysql.MySQLError
	if _, err := login("app:wrong"); !errors.As(err, &refused) || refused.Number != 1045 {
		t.Errorf("wrong password: got %v, want 1045", err)
	}
	if _, err := login("app", iam); !errors.As(err, &refused) || refused.Number != 1045 {
		t.Errorf("another principal's user: got %v, want 1045", err)
	}
}

// serve connects local clients to the instance.
func serve(t *testing.T, d *cloudsqlconn.Dialer) (host, port string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	wantNil(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = d.Serve(ctx, l, instance) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	host, port, err = net.SplitHostPort(l.Addr().String())
	wantNil(t, err)
	return host, port
}

func TestPsqlWorks(t *testing.T) {
	t.Parallel()
	psql, err := exec.LookPath("psql")
	if err != nil && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	wantNil(t, err)
	host, port := serve(t, start(t, "-engine", "postgres"))
	run := func(input string, args ...string) string {
		cmd := exec.CommandContext(t.Context(), psql, append([]string{"-X", "-w", "host=" + host + " port=" + port + " user=app dbname=app"}, args...)...)
		cmd.Env = append(os.Environ(), "PGPASSWORD=app")
		cmd.Stdin = strings.NewReader(input)
		out, _ := cmd.CombinedOutput() // an error of SQL is an exit code, too
		return string(out)
	}
	if got, want := run("", "-c", "select 1"), " ?column? \n----------\n        1\n(1 row)\n\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	got := run("CREATE TABLE t (id serial PRIMARY KEY, name text);\nINSERT INTO t (name) VALUES ('Ann');\nSELECT * FROM t;\nselec;\n\\d\nSELECT count(*) FROM t;\n\\q\nSELECT 2;\n", "-At")
	for _, want := range []string{"CREATE TABLE\n", "INSERT 0 1\n", "1|Ann\n", "ERROR:  syntax error", "ERROR:  PostgreSQL's catalogs are not there", "\n1\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}
