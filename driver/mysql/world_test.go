package mysql_test

import (
	"database/sql"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/driver/mysql"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/mysqlserver"
)

// world is an instance with a scripted MySQL behind it, in memory, and a
// Dialer for it.
type world struct {
	t        *testing.T
	kit      *cloudsqltest.Server
	instance *cloudsqltest.EmulatedInstance
	mysql    *mysqlserver.Server
	dialer   *cloudsqlconn.Dialer
}

// newWorld is for tests in a bubble.
func newWorld(t *testing.T, cfg cloudsqltest.Instance, opts ...cloudsqlconn.Option) *world {
	t.Helper()
	w := &world{t: t, kit: cloudsqltest.NewMemoryServer(), mysql: &mysqlserver.Server{Accounts: accounts}}
	if cfg.DatabaseVersion == "" {
		cfg.DatabaseVersion = "MYSQL_8_4"
	}
	if cfg.Handler == nil {
		cfg.Handler = w.mysql.Serve
	}
	w.instance = w.kit.AddInstance(instance, cfg)
	w.dialer = newDialer(t, append(w.kit.Options(), opts...)...)
	return w
}

// accounts are the users of every scripted MySQL.
var accounts = map[string]mysqlserver.Account{
	"app":            {Password: "secret"},
	"native":         {Password: "secret", Plugin: mysqlserver.NativePassword},
	"clear":          {Password: "secret", Plugin: mysqlserver.ClearPassword},
	"me":             {},
	"me@example.com": {},
}

func (w *world) close() {
	_ = w.dialer.Close()
	w.kit.Close()
}

func (w *world) open(dsn string, opts ...cloudsqlconn.DialOption) *sql.DB {
	w.t.Helper()
	c, err := mysql.NewConnector(w.dialer, dsn, opts...)
	wantNil(w.t, err)
	return sql.OpenDB(c)
}

func wantNil(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
