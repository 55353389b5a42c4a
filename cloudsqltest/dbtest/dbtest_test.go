package dbtest_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/dbtest"
	"github.com/cloudsqlconn/cloudsqlconn/driver/mysql"
	"github.com/cloudsqlconn/cloudsqlconn/driver/postgres"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/testmain"
)

func TestMain(m *testing.M) { os.Exit(testmain.Run(m)) }

const instance = "my-project:europe-west1:my-db"

var engines = []struct {
	engine  dbtest.Engine
	sql     []string
	connect func(*cloudsqlconn.Dialer, string, ...cloudsqlconn.DialOption) (driver.Connector, error)
	app, me string // data source names: with a password, and for IAM login
	version string // how it begins
}{
	{
		dbtest.PostgreSQL,
		[]string{"CREATE ROLE app LOGIN PASSWORD 'secret'", `CREATE ROLE "me@example.com" LOGIN`, "CREATE DATABASE shop OWNER app"},
		postgres.NewConnector,
		"host=" + instance + " user=app password=secret dbname=shop",
		"host=" + instance + " user=me@example.com dbname=shop cloudsql_iam_authn=true",
		"POSTGRES_",
	},
	{dbtest.MariaDB, mysqlUsers, mysql.NewConnector, mysqlApp, mysqlMe, "MYSQL_8_0"},
	{dbtest.MySQL, mysqlUsers, mysql.NewConnector, mysqlApp, mysqlMe, "MYSQL_"},
}

var mysqlUsers = []string{
	"CREATE DATABASE shop", "CREATE USER app@'127.0.0.1' IDENTIFIED BY 'secret'", "CREATE USER me@localhost",
	"GRANT ALL ON shop.* TO app@'127.0.0.1'", "GRANT ALL ON shop.* TO me@localhost",
}

const (
	mysqlApp = "app:secret@cloudsql-mysql(" + instance + ")/shop"
	mysqlMe  = "me@example.com@cloudsql-mysql(" + instance + ")/shop?cloudsql_iam_authn=true"
)

func TestAnInstanceOfEachServerTakesBothLogins(t *testing.T) {
	t.Parallel()
	for _, e := range engines {
		t.Run(string(e.engine), func(t *testing.T) {
			t.Parallel()
			server := dbtest.New(t, e.engine, e.sql...)
			cloud := cloudsqltest.NewServer()
			t.Cleanup(cloud.Close)
			cloud.AddInstance(instance, server.Instance())
			dialer, err := cloudsqlconn.NewDialer(t.Context(), cloud.Options()...)
			wantNil(t, err)
			defer dialer.Close()
			for _, dsn := range []string{e.app, e.me} {
				connector, err := e.connect(dialer, dsn)
				wantNil(t, err)
				db := sql.OpenDB(connector)
				wantNil(t, db.PingContext(t.Context()))
				wantNil(t, db.Close())
			}
			if v, err := dialer.EngineVersion(t.Context(), instance); err != nil || !strings.HasPrefix(v, e.version) || v == "POSTGRES_" {
				t.Errorf("the version is %q, %v", v, err)
			}
		})
	}
}

func TestDataOutlivesAStop(t *testing.T) {
	t.Parallel()
	server := dbtest.New(t, dbtest.PostgreSQL, "CREATE TABLE fruit (name text)")
	addr := server.TCPAddr()
	wantNil(t, server.Stop())
	if err := server.Exec(t.Context(), "SELECT 1"); err == nil {
		t.Error("a stopped server has run SQL")
	}
	wantNil(t, server.Resume(t.Context()))
	wantNil(t, server.Exec(t.Context(), "INSERT INTO fruit VALUES ('apple')"))
	if server.TCPAddr() != addr {
		t.Errorf("the address changed from %s to %s", addr, server.TCPAddr())
	}
}

func TestWhatCannotStartIsAnError(t *testing.T) {
	t.Parallel()
	if _, err := dbtest.Start(t.Context(), "postgres"); err == nil || !strings.Contains(err.Error(), "want PostgreSQL, MariaDB or MySQL") {
		t.Errorf("unknown engine: got %v", err)
	}
	server, err := dbtest.Start(t.Context(), dbtest.PostgreSQL, "CREATE NONSENSE")
	if err == nil {
		_ = server.Close()
	}
	if err == nil || !errors.Is(err, dbtest.ErrNotInstalled) && !strings.Contains(err.Error(), "NONSENSE") {
		t.Errorf("bad SQL: got %v", err)
	}
}

// verdict is a testing.TB that is told that a test is skipped or has failed.
type verdict struct {
	testing.TB
	ctx           context.Context
	skip, failure string
}

func (v *verdict) Context() context.Context { return v.ctx }
func (v *verdict) Helper()                  {}

func (v *verdict) Skip(args ...any) {
	v.skip = args[0].(error).Error()
	panic(v)
}

func (v *verdict) Fatal(args ...any) {
	v.failure = args[0].(error).Error()
	panic(v)
}

// With no programs to be found, a test is skipped, and fails in CI.
func TestAServerThatIsNotInstalledIsTold(t *testing.T) {
	t.Setenv("PATH", "")
	t.Setenv("MYSQL_97_BIN", "")
	if server, err := dbtest.Start(t.Context(), dbtest.MySQL); err == nil {
		wantNil(t, server.Close())
		t.Skip("MySQL is where it cannot be hidden")
	}
	for _, ci := range []string{"", "true"} {
		t.Setenv("CI", ci)
		v := &verdict{ctx: t.Context()}
		func() {
			defer func() {
				if r := recover(); r != nil && r != any(v) {
					panic(r)
				}
			}()
			_ = dbtest.New(v, dbtest.MySQL)
		}()
		told := v.skip
		if ci != "" {
			told = v.failure
		}
		if !strings.Contains(told, "apt-get install") {
			t.Errorf("CI=%q: skipped with %q, failed with %q", ci, v.skip, v.failure)
		}
	}
}

func wantNil(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
