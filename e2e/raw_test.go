package e2e

import (
	"crypto/tls"
	"database/sql"
	"errors"
	"fmt"
	"os/user"
	"testing"

	mysqldriver "github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

func TestRawGivesTheConnectionOfPgx(t *testing.T) {
	eachPostgres(t, func(t *testing.T, e *engine) {
		db := e.newInstance(t).withDatabase(t).open(t, app)
		exec(t, db, "create table numbers (n bigint)")
		conn, err := db.Conn(t.Context())
		wantNil(t, err)
		defer conn.Close()
		wantNil(t, conn.Raw(func(raw any) error {
			_, err := raw.(*stdlib.Conn).Conn().CopyFrom(t.Context(), pgx.Identifier{"numbers"}, []string{"n"}, pgx.CopyFromRows([][]any{{int64(1)}, {int64(2)}}))
			return err
		}))
		if n := value[int](t, db, "select count(*) from numbers"); n != 2 {
			t.Errorf("%d rows, want 2", n)
		}
	})
}

func TestRawGivesTheConnectionOfGoSQLDriver(t *testing.T) {
	eachMySQL(t, func(t *testing.T, e *engine) {
		db := e.newInstance(t).open(t, app)
		conn, err := db.Conn(t.Context())
		wantNil(t, err)
		defer conn.Close()
		wantNil(t, conn.Raw(func(raw any) error {
			if got := fmt.Sprintf("%T", raw); got != "*mysql.mysqlConn" {
				t.Errorf("got a %s", got)
			}
			return nil
		}))
	})
}

// A user who is named logs in, even if it is the operating system's, who was
// taken for nobody.
func TestTheOperatingSystemsUserLogsInIfItIsNamed(t *testing.T) {
	me, err := user.Current()
	wantNil(t, err)
	eachPostgres(t, func(t *testing.T, e *engine) {
		i := e.newInstanceOf(t, e.ownServer(t), cloudsqltest.Instance{})
		wantNil(t, i.server.Exec(t.Context(), fmt.Sprintf("CREATE ROLE %q LOGIN", me.Username)))
		wantUser(t, i, i.open(t, login{user: me.Username}, cloudsqlconn.WithIAMAuthN(true)), me.Username)
	})
}

// TLS of MySQL's own is used as far as the server has it, whatever a data source
// name for a direct connection says.
func TestMySQLTLSInsideTheTunnel(t *testing.T) {
	wantNil(t, mysqldriver.RegisterTLSConfig("e2e-any", &tls.Config{InsecureSkipVerify: true}))
	wantNil(t, mysqldriver.RegisterTLSConfig("e2e-verified", &tls.Config{MinVersion: tls.VersionTLS12}))
	eachMySQL(t, func(t *testing.T, e *engine) {
		i := e.newInstance(t)
		open := func(tls string) (*sql.DB, error) {
			c, err := i.connector(i.dialer, i.dsn(instanceName, app, i.database)+"?tls="+tls)
			if err != nil {
				return nil, err
			}
			return sql.OpenDB(c), nil
		}
		cipher := func(tls string) (name string) {
			t.Helper()
			db, err := open(tls)
			wantNil(t, err)
			defer db.Close()
			wantNil(t, db.QueryRowContext(t.Context(), "show session status like 'Ssl_cipher'").Scan(new(string), &name))
			return name
		}
		if got := cipher("false"); got != "" {
			t.Errorf("tls=false: the cipher is %s", got)
		}
		offered := cipher("preferred") != ""
		if !offered && e == mysql97Engine {
			t.Error("MySQL has no TLS: the test shows nothing")
		}
		for _, tls := range []string{"skip-verify", "e2e-any"} {
			if got := cipher(tls); (got != "") != offered {
				t.Errorf("tls=%s: the cipher is %q, and the server has TLS: %v", tls, got, offered)
			}
		}
		for _, tls := range []string{"true", "e2e-verified", "e2e-unknown"} {
			if _, err := open(tls); !errors.Is(err, cloudsqlconn.ErrConfig) {
				t.Errorf("tls=%s: got %v, want ErrConfig", tls, err)
			}
		}
	})
}
