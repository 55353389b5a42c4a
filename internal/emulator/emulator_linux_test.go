package emulator

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	gomysql "github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/driver/mysql"
	"github.com/cloudsqlconn/cloudsqlconn/driver/postgres"
	"github.com/cloudsqlconn/cloudsqlconn/internal/dbserver"
)

// dialer uses what the program prints, and nothing else.
func (p *program) dialer(opts ...cloudsqlconn.Option) *cloudsqlconn.Dialer {
	p.t.Helper()
	source := func(word string) oauth2.TokenSource {
		return oauth2.StaticTokenSource(&oauth2.Token{AccessToken: p.value(word)})
	}
	d, err := cloudsqlconn.NewDialer(p.t.Context(), append([]cloudsqlconn.Option{
		cloudsqlconn.WithAdminAPIEndpoint(p.value("Admin API")),
		cloudsqlconn.WithIAMAuthNTokenSources(source("token"), source("login token")),
	}, opts...)...)
	wantNil(p.t, err)
	p.t.Cleanup(func() { _ = d.Close() })
	return d
}

// wantEcho proves that an instance without a database can be reached.
func wantEcho(t *testing.T, d *cloudsqlconn.Dialer, name string, opts ...cloudsqlconn.DialOption) net.Conn {
	t.Helper()
	conn, err := d.Dial(t.Context(), name, opts...)
	wantNil(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	_, err = io.WriteString(conn, "hello")
	wantNil(t, err)
	b := make([]byte, 5)
	if _, err = io.ReadFull(conn, b); err != nil || string(b) != "hello" {
		t.Fatalf("read %q, %v", b, err)
	}
	return conn
}

func TestClientsReachInstancesAtPort3307(t *testing.T) {
	t.Parallel()
	p := startProgram(t, "-backend", "echo")
	d := p.dialer()
	for _, opt := range []cloudsqlconn.DialOption{cloudsqlconn.WithPublicIP(), cloudsqlconn.WithPrivateIP()} {
		conn := wantEcho(t, d, defaultInstance, opt)
		if host, port, _ := net.SplitHostPort(conn.RemoteAddr().String()); port != "3307" || !strings.HasPrefix(host, "127.") {
			t.Errorf("connected to %s", conn.RemoteAddr())
		}
	}
	if log := p.stderr.String(); !strings.Contains(log, `msg="API request"`) || !strings.Contains(log, "msg=connection instance="+defaultInstance) {
		t.Errorf("the log is\n%s", log)
	}
}

func TestExampleRuns(t *testing.T) {
	t.Parallel()
	p := startProgram(t, "-config", exampleFile, "-v")
	for _, want := range []string{"token        an-api-token\n", "login token  a-login-token\n", "token        ann-token of ann@example.com\n",
		"\nexample.com:my-project:europe-west1:shop\n  engine     MYSQL_8_0\n", "127.77.0.1:3307 PRIVATE", " of shop-node-2\n"} {
		if !strings.Contains(p.stdout.String(), want) {
			t.Errorf("the output has no %q:\n%s", want, p.stdout)
		}
	}
}

func TestOutputEndsWithTheAuthProxy(t *testing.T) {
	t.Parallel()
	for engine, database := range map[string]string{"postgres": "psql 'host=127.0.0.1 port=15432 ", "mysql": "mariadb --protocol=tcp --host=127.0.0.1 --port=13306 "} {
		p := startProgram(t, "-backend", "echo", "-engine", engine)
		lines := strings.Split(p.stdout.String(), "\n")
		if len(lines) < 8 {
			t.Fatalf("the output is\n%s", p.stdout)
		}
		for i, want := range []string{"# Cloud SQL Auth Proxy, in one shell", "cloud-sql-proxy --sqladmin-api-endpoint " + p.value("Admin API") + " --token ", "# in another", database, "",
			"ready; curl '" + p.value("status page") + "/clients?instance=" + defaultInstance + "' prints all", ""} {
			if got := lines[len(lines)-7+i]; !strings.HasPrefix(got, want) || want == "" && got != "" {
				t.Errorf("%s: got %q, want %q", engine, got, want)
			}
		}
	}
	p := startProgram(t, "-backend", "echo", "-control", "none")
	if !strings.HasSuffix(p.stdout.String(), "\n\nready\n") {
		t.Errorf("without a control endpoint the output is\n%s", p.stdout)
	}
}

func TestEndLeavesNothing(t *testing.T) {
	t.Parallel()
	p := startProgram(t, "-backend", "echo")
	conn := wantEcho(t, p.dialer(), defaultInstance)
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d: %s", code, p.stderr)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is alive")
	}
	for _, addr := range []string{strings.TrimPrefix(p.value("Admin API"), "http://"), strings.TrimPrefix(p.value("status page"), "http://"), conn.RemoteAddr().String()} {
		if _, err := net.Dial("tcp", addr); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s: got %v, want ECONNREFUSED", addr, err)
		}
	}
}

func TestFaultsAndQuotaOfTheCommandLineCount(t *testing.T) {
	t.Parallel()
	p := startProgram(t, "-backend", "echo", "-quota", "2", "-token", "mine", "-fault", "call=connectSettings,kind=status,status=503,times=1")
	for _, want := range []int{503, 200, 200, 429} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", p.value("Admin API")+"/sql/v1beta4/projects/my-project/instances/my-db/connectSettings", nil)
		wantNil(t, err)
		req.Header.Set("Authorization", "Bearer mine")
		resp, err := http.DefaultClient.Do(req)
		wantNil(t, err)
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("status %d, want %d", resp.StatusCode, want)
		}
	}
	if log := p.stderr.String(); !strings.Contains(log, `fault="call=connectSettings,times=1,kind=status,status=503"`) {
		t.Errorf("the log is\n%s", log)
	}
}

// A start that fails after the Admin API listens must end that, too.
func TestStartThatFailsLeavesNothing(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	wantNil(t, err)
	addr := l.Addr().String()
	wantNil(t, l.Close())
	file := filepath.Join(t.TempDir(), "emulator.yaml")
	wantNil(t, os.WriteFile(file, []byte("instances:\n- backend: echo\n- name: my-project:us-east1:my-db\n  backend: echo\n"), 0o600))
	fails(t, 1, "my-project:us-east1:my-db: the instance exists", "-config", file, "-listen", addr)
	if _, err := net.Dial("tcp", addr); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v, want ECONNREFUSED", err)
	}
}

func TestPortThatIsTakenIsAnError(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	wantNil(t, err)
	defer l.Close()
	fails(t, 1, "address already in use; another emulator may be running; -listen 127.0.0.1:0 takes", "-backend", "echo", "-listen", l.Addr().String())
	fails(t, 1, "address already in use; another emulator may be running; -control 127.0.0.1:0 takes", "-backend", "echo", "-listen", "127.0.0.1:0", "-control", l.Addr().String())
}

// needsDatabase skips a test where no server is installed; in CI one must be.
func needsDatabase(t *testing.T, start func(context.Context, dbserver.Options) (*dbserver.Server, error)) {
	t.Helper()
	s, err := start(t.Context(), dbserver.Options{})
	if errors.Is(err, dbserver.ErrNotInstalled) && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	wantNil(t, err)
	wantNil(t, s.Close())
}

func ping(t *testing.T, db *sql.DB, query string) (got string, err error) {
	t.Helper()
	defer db.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err = db.QueryRowContext(ctx, query).Scan(&got)
	return got, err
}

func TestPrivatePostgresServesPasswordAndIAMLogins(t *testing.T) {
	t.Parallel()
	needsDatabase(t, dbserver.StartPostgres)
	p := startProgram(t, "-engine", "postgres")
	d := p.dialer()
	login := func(dsn string, opts ...cloudsqlconn.DialOption) (string, error) {
		connector, err := postgres.NewConnector(d, "host="+defaultInstance+" dbname=app "+dsn, opts...)
		wantNil(t, err)
		return ping(t, sql.OpenDB(connector), "SELECT current_user")
	}
	if got, err := login("user=app password=app"); err != nil || got != "app" {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := login("user=app@my-project.iam", cloudsqlconn.WithIAMAuthN(true)); err != nil || got != "app@my-project.iam" {
		t.Errorf("got %q, %v", got, err)
	}
	_, err := login("user=app", cloudsqlconn.WithIAMAuthN(true))
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || refused.Code != "28000" {
		t.Errorf("got %v, want 28000", err)
	}
}

// Without a principal, who has users of their own is not told who they are.
func TestIAMUsersOfOneselfAreNotChecked(t *testing.T) {
	t.Parallel()
	p := startProgram(t, "-backend", "echo")
	wantEcho(t, p.dialer(), defaultInstance, cloudsqlconn.WithIAMAuthN(true))
	p = startProgram(t, "-backend", "echo", "-principal", "ann@example.com")
	conn, err := p.dialer().Dial(t.Context(), defaultInstance, cloudsqlconn.WithIAMAuthN(true))
	wantNil(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "\x00\x00\x00\x12\x00\x03\x00\x00user\x00bob\x00\x00")
	wantNil(t, err)
	if got, err := io.ReadAll(conn); err != nil || !strings.Contains(string(got), "C28000\x00") {
		t.Errorf("got %q, %v, want 28000", got, err)
	}
}

func TestPrivateMariaDBServesPasswordAndIAMLogins(t *testing.T) {
	t.Parallel()
	needsDatabase(t, dbserver.StartMariaDB)
	p := startProgram(t, "-engine", "mysql", "-principal", "ann@example.com")
	d := p.dialer()
	login := func(user string, opts ...cloudsqlconn.DialOption) (string, error) {
		connector, err := mysql.NewConnector(d, user+"@cloudsql-mysql("+defaultInstance+")/app", opts...)
		wantNil(t, err)
		return ping(t, sql.OpenDB(connector), "SELECT CURRENT_USER()")
	}
	if got, err := login("app:app"); err != nil || got != "app@127.0.0.1" {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := login("ann", cloudsqlconn.WithIAMAuthN(true)); err != nil || got != "ann@localhost" {
		t.Errorf("got %q, %v", got, err)
	}
	_, err := login("app", cloudsqlconn.WithIAMAuthN(true))
	var refused *gomysql.MySQLError
	if !errors.As(err, &refused) || refused.Number != 1045 {
		t.Errorf("got %v, want 1045", err)
	}
}

// It does not run beside others: it takes MariaDB away.
func TestAutoTakesMySQLWhereThereIsNoMariaDB(t *testing.T) {
	needsDatabase(t, dbserver.StartMySQL)
	all := privateServers["mysql"]
	none := func(context.Context, dbserver.Options) (*dbserver.Server, error) {
		return nil, fmt.Errorf("%w: no mariadbd", dbserver.ErrNotInstalled)
	}
	privateServers["mysql"] = slices.Clone(all)
	privateServers["mysql"][0].start = none
	t.Cleanup(func() { privateServers["mysql"] = all })

	p := startProgram(t, "-engine", "mysql", "-principal", "ann@example.com")
	version := regexp.MustCompile(`engine     MYSQL_([0-9]+)_([0-9]+)\n  database   MySQL ([0-9]+)\.([0-9]+)\.`).FindStringSubmatch(p.stdout.String())
	if version == nil || version[1] != version[3] || version[2] != version[4] {
		t.Errorf("the output is\n%s", p.stdout)
	}
	if !strings.Contains(p.stdout.String(), "\nmysql --protocol=tcp ") || strings.Contains(p.stdout.String(), "mariadb") {
		t.Errorf("the client is not mysql:\n%s", p.stdout)
	}
	d := p.dialer()
	for user, want := range map[string]string{"app:app": "app@127.0.0.1", "ann": "ann@localhost"} {
		connector, err := mysql.NewConnector(d, user+"@cloudsql-mysql("+defaultInstance+")/app", cloudsqlconn.WithIAMAuthN(user == "ann"))
		wantNil(t, err)
		if got, err := ping(t, sql.OpenDB(connector), "SELECT CURRENT_USER()"); err != nil || got != want {
			t.Errorf("%s: got %q, %v", user, got, err)
		}
	}

	privateServers["mysql"][1].start = none
	fails(t, 1, "no mariadbd", "-engine", "mysql")
}
