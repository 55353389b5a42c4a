package interop

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/tds"
	"github.com/cloudsqlconn/cloudsqlconn/internal/dbserver"
)

// The user with a password, and the one that logs in with IAM only.
const (
	appUser     = "app"
	appPassword = "secret"
	database    = "interop"
)

// engine is a database engine with one server that all tests use.
type engine struct {
	version string // as the Admin API reports it
	iamUser string // "": the engine has no IAM login

	start func(context.Context) (*dbserver.Server, error)
	setup []string // SQL: database and users

	handler func(net.Conn) // in place of a server

	once   sync.Once
	server *dbserver.Server
	err    error
}

var (
	postgresEngine = &engine{
		version: "POSTGRES_15",
		iamUser: "app@my-project.iam",
		start: func(ctx context.Context) (*dbserver.Server, error) {
			return dbserver.StartPostgres(ctx, dbserver.Options{Args: []string{"-c", "max_connections=200"}})
		},
		setup: []string{
			"CREATE ROLE app LOGIN PASSWORD 'secret'",
			`CREATE ROLE "app@my-project.iam" LOGIN`,
			"CREATE DATABASE interop OWNER app",
		},
	}
	mysqlEngine = &engine{
		version: "MYSQL_8_0",
		iamUser: "app-iam",
		start: func(ctx context.Context) (*dbserver.Server, error) {
			return dbserver.StartMariaDB(ctx, dbserver.Options{Args: []string{"--max-connections=200"}})
		},
		setup: []string{
			"CREATE USER app@'127.0.0.1' IDENTIFIED BY 'secret'",
			"CREATE USER 'app-iam'@localhost",
			"CREATE DATABASE interop",
			"GRANT ALL ON interop.* TO app@'127.0.0.1'",
			"GRANT ALL ON interop.* TO 'app-iam'@localhost",
		},
	}
	sqlServerEngine = &engine{version: "SQLSERVER_2022_STANDARD", handler: newSQLServer().Serve}

	engines = []*engine{postgresEngine, mysqlEngine, sqlServerEngine}
)

// newSQLServer returns a SQL Server that lets one user in and knows its name.
func newSQLServer() *tds.Server {
	db := &tds.Server{Users: map[string]string{appUser: appPassword}}
	db.Answer("select original_login()", tds.Result{Columns: []tds.Column{{Type: tds.NVarChar}}, Rows: [][]any{{appUser}}})
	return db
}

// behind puts the engine's server, which the first call starts, behind an
// instance.
func (e *engine) behind(t *testing.T, cfg *cloudsqltest.Instance) {
	t.Helper()
	cfg.DatabaseVersion = e.version
	if cfg.Handler = e.handler; e.handler != nil {
		return
	}
	e.once.Do(func() {
		ctx := context.Background()
		if e.server, e.err = e.start(ctx); e.err == nil {
			if e.err = e.server.Exec(ctx, e.setup...); e.err != nil {
				e.err = errors.Join(e.err, e.close())
			}
		}
	})
	wantInstalled(t, e.err)
	cfg.Backend, cfg.IAMBackend = e.server.TCPAddr(), e.server.SocketAddr()
}

func (e *engine) close() error {
	if e.server == nil {
		return nil
	}
	return e.server.Close()
}
