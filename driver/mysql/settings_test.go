package mysql_test

import (
	"crypto/rand"
	"crypto/tls"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	native "github.com/go-sql-driver/mysql"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/driver/mysql"
)

// The table in the package's documentation, line by line, with a server that has
// no TLS. With one that has, it is e2e's TestMySQLTLSInsideTheTunnel.
func TestSettingsOfADirectConnection(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]*tls.Config{
		"settings-any":      {InsecureSkipVerify: true},
		"settings-verified": {MinVersion: tls.VersionTLS12},
		"settings-named":    {ServerName: "db.example.com"},
	} {
		wantNil(t, native.RegisterTLSConfig(name, config))
	}
	for _, tt := range []struct {
		addr, params string
		refused      string // what the error names
		sentinel     error
	}{
		{"tcp(" + instance + ")", "", "", nil},
		{"anything(" + instance + ")", "", "", nil},
		{"unix(" + instance + ")", "", "unix", cloudsqlconn.ErrBadName},
		{"tcp([" + instance + "]:3306)", "", "", nil},
		{"tcp(my-project:my-db)", "", "project:region:instance", cloudsqlconn.ErrBadName},
		{"cloudsql-mysql(my-project:my-db)", "", "project:region:instance", cloudsqlconn.ErrBadName},
		{"tcp(" + instance + ":3306)", "", "project:region:instance", cloudsqlconn.ErrBadName},
		{"tcp(" + instance + ")", "tls=false", "", nil},
		{"tcp(" + instance + ")", "tls=preferred", "", nil},
		{"tcp(" + instance + ")", "tls=skip-verify", "", nil},
		{"tcp(" + instance + ")", "tls=settings-any", "", nil},
		{"tcp(" + instance + ")", "tls=settings-named", "", nil},
		{"tcp(" + instance + ")", "tls=settings-verified", "tls=settings-verified", cloudsqlconn.ErrConfig},
		{"cloudsql-mysql(" + instance + ")", "tls=settings-verified", "tls=settings-verified", cloudsqlconn.ErrConfig},
		{"tcp(" + instance + ")", "tls=true", "tls=true", cloudsqlconn.ErrConfig},
		{"tcp(" + instance + ")", "tls=settings-unknown", "settings-unknown", cloudsqlconn.ErrConfig},
		{"tcp(" + instance + ")", "tls=skip-verify&allowFallbackToPlaintext=false", "", nil},
		{"tcp(" + instance + ")", "allowCleartextPasswords=false", "", nil},
		{"tcp(" + instance + ")", "timeout=5s&readTimeout=5s", "", nil},
	} {
		t.Run(tt.addr+"?"+tt.params, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, cloudsqltest.Instance{})
				defer w.close()
				for _, who := range []string{"app:secret", "clear:secret"} {
					dsn := who + "@" + tt.addr + "/shop?" + tt.params
					if tt.sentinel == nil {
						db := w.open(dsn)
						wantNil(t, db.PingContext(t.Context()))
						wantNil(t, db.Close())
						continue
					}
					_, err := mysql.NewConnector(w.dialer, dsn)
					if !errors.Is(err, tt.sentinel) || !strings.Contains(err.Error(), tt.refused) {
						t.Errorf("got %v, want %v that names %s", err, tt.sentinel, tt.refused)
					}
				}
			})
		})
	}
}

// Instrumentation asks a pool for its driver, and opens by that.
func TestWhatAsksForTheDriverStaysInTheTunnel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, cloudsqltest.Instance{})
		defer w.close()
		name, cleanup := register(t, w.kit.Options()...)
		defer func() { wantNil(t, cleanup()) }()
		const dsn = "app:secret@cloudsql-mysql(" + instance + ")/shop"
		for _, first := range []string{"", dsn} {
			db, err := sql.Open(name, first) // as otelsql.Open does, with ""
			wantNil(t, err)
			before := w.instance.Accepted()
			connector, err := db.Driver().(driver.DriverContext).OpenConnector(dsn)
			wantNil(t, err)
			wrapped := sql.OpenDB(connector)
			wantNil(t, wrapped.PingContext(t.Context()))
			wantNil(t, wrapped.Close())
			one, err := wrapped.Driver().Open(dsn)
			wantNil(t, err)
			wantNil(t, one.Close())
			if n := w.instance.Accepted() - before; n != 2 {
				t.Errorf("%d connections to the instance, want 2", n)
			}
			if _, native := db.Driver().(*native.MySQLDriver); native {
				t.Error("the driver is go-sql-driver's own")
			}
			if first == "" {
				if err := db.PingContext(t.Context()); !errors.Is(err, cloudsqlconn.ErrBadName) {
					t.Errorf("without a data source name: got %v", err)
				}
			}
			wantNil(t, db.Close())
		}
	})
}

func TestRawGivesTheConnectionOfGoSQLDriver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, cloudsqltest.Instance{})
		defer w.close()
		db := w.open("app:secret@cloudsql-mysql(" + instance + ")/shop")
		defer db.Close()
		conn, err := db.Conn(t.Context())
		wantNil(t, err)
		defer conn.Close()
		wantNil(t, conn.Raw(func(raw any) error {
			if got := fmt.Sprintf("%T", raw); got != "*mysql.mysqlConn" {
				t.Errorf("got a %s", got)
			}
			return raw.(driver.Pinger).Ping(t.Context())
		}))
	})
}

func TestAWrongDialOptionIsAnErrorOfTheConstructors(t *testing.T) {
	t.Parallel()
	dsn, wrong := "app:secret@cloudsql-mysql("+instance+")/shop", cloudsqlconn.WithDialTimeout(-1)
	_, connector := mysql.NewConnector(newDialer(t), dsn, wrong)
	_, registered := mysql.RegisterDriver("cloudsql-"+rand.Text(), wrong)
	for name, err := range map[string]error{"NewConnector": connector, "RegisterDriver": registered} {
		if told, ok := errors.AsType[*cloudsqlconn.Error](err); !ok || told.Op != cloudsqlconn.OpConfig || !errors.Is(err, cloudsqlconn.ErrConfig) || !strings.Contains(err.Error(), "WithDialTimeout") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
