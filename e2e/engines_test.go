package e2e

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	mysqldriver "github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/driver/mysql"
	"github.com/cloudsqlconn/cloudsqlconn/driver/postgres"
	"github.com/cloudsqlconn/cloudsqlconn/internal/dbserver"
)

// engine is what the tests need to know of a database engine: how to run a
// server, how to connect to it, and how it spells some SQL.
type engine struct {
	name    string
	version string // as the Admin API reports it

	start          func(context.Context, dbserver.Options) (*dbserver.Server, error)
	args           []string // of the server
	createUsers    []string // app, with a password over TCP, and the IAM user, without one over the socket
	createDatabase string   // with the name as %s
	iamUser        string   // the database user of iamEmail

	connector    func(*cloudsqlconn.Dialer, string, ...cloudsqlconn.DialOption) (driver.Connector, error)
	register     func(string, ...cloudsqlconn.Option) (func() error, error)
	dsn          func(instance string, who login, database string) string
	loginRefused func(error) bool
	noDatabase   func(error) bool

	bind        func(query string) string // replaces each ? by a placeholder
	blob        string                    // the type of a large value
	currentUser string                    // query: the name of the user
	sessionID   string                    // query: which session this is
	sessions    string                    // query: how many sessions there are in this database
	sleep       string                    // query that takes a minute
	sleepers    string                    // query: the IDs of the sessions that run sleep in this database
	kill        string                    // ends the query of the session %d; "" if the driver does that

	once   sync.Once // starts the shared server
	shared *dbserver.Server
	err    error
}

// iamEmail is an IAM user as people write it.
const iamEmail = "app-iam@my-project.iam.gserviceaccount.com"

// login is who logs in to a database.
type login struct{ user, password string }

var (
	app = login{"app", "secret"}
	iam = login{user: iamEmail}
)

var engines = append(postgresEngines, mysqlEngines...)

var (
	postgresEngine   = newPostgresEngine("postgres", "POSTGRES_15", dbserver.StartPostgres)
	postgres18Engine = newPostgresEngine("postgres18", "POSTGRES_18", startPostgres18)
	postgresEngines  = []*engine{postgresEngine, postgres18Engine}
)

// startPostgres18 starts the PostgreSQL 18 of the folder that POSTGRES_18_BIN
// names.
func startPostgres18(ctx context.Context, opts dbserver.Options) (*dbserver.Server, error) {
	if opts.BinDir = os.Getenv("POSTGRES_18_BIN"); opts.BinDir == "" {
		return nil, fmt.Errorf("%w: POSTGRES_18_BIN is not set", dbserver.ErrNotInstalled)
	}
	return dbserver.StartPostgres(ctx, opts)
}

func newPostgresEngine(name, version string, start func(context.Context, dbserver.Options) (*dbserver.Server, error)) *engine {
	return &engine{
		name:    name,
		version: version,

		start: start,
		args:  []string{"-c", "max_connections=300"},
		createUsers: []string{
			"CREATE ROLE app LOGIN PASSWORD 'secret'",
			`CREATE ROLE "app-iam@my-project.iam" LOGIN`,
		},
		createDatabase: "CREATE DATABASE %s OWNER app",
		iamUser:        "app-iam@my-project.iam",

		connector: postgres.NewConnector,
		register:  postgres.RegisterDriver,
		dsn: func(instance string, who login, database string) string {
			password := strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(who.password)
			dsn := fmt.Sprintf("host=%s password='%s' dbname=%s", instance, password, database)
			if who.user != "" {
				dsn += " user=" + who.user
			}
			return dsn
		},
		loginRefused: func(err error) bool { return postgresError(err) == "28P01" }, // invalid_password
		noDatabase:   func(err error) bool { return postgresError(err) == "3D000" }, // invalid_catalog_name

		bind: func(query string) string {
			for n := 1; strings.Contains(query, "?"); n++ {
				query = strings.Replace(query, "?", fmt.Sprintf("$%d", n), 1)
			}
			return query
		},
		blob:        "bytea",
		currentUser: "select current_user",
		sessionID:   "select pg_backend_pid()",
		sessions:    "select count(*) from pg_stat_activity where datname = current_database() and backend_type = 'client backend'",
		sleep:       "select pg_sleep(60)",
		sleepers:    "select pid from pg_stat_activity where datname = current_database() and state = 'active' and query like '%select pg_sleep%' and pid <> pg_backend_pid()",
	}
}

var (
	mysqlEngine   = newMySQLEngine("mysql", "MYSQL_8_0", dbserver.StartMariaDB)
	mysql97Engine = withPerformanceSchema(newMySQLEngine("mysql97", "MYSQL_9_7", startMySQL97))
	mysqlEngines  = []*engine{mysqlEngine, mysql97Engine}
)

// startMySQL97 starts the MySQL of the folder that MYSQL_97_BIN names.
func startMySQL97(ctx context.Context, opts dbserver.Options) (*dbserver.Server, error) {
	if opts.BinDir = os.Getenv("MYSQL_97_BIN"); opts.BinDir == "" {
		return nil, fmt.Errorf("%w: MYSQL_97_BIN is not set", dbserver.ErrNotInstalled)
	}
	return dbserver.StartMySQL(ctx, opts)
}

func newMySQLEngine(name, version string, start func(context.Context, dbserver.Options) (*dbserver.Server, error)) *engine {
	return &engine{
		name:    name,
		version: version,

		start: start,
		args:  []string{"--max-allowed-packet=64M", "--max-connections=300", "--local-infile=ON"},
		createUsers: []string{
			"CREATE USER app@'127.0.0.1' IDENTIFIED BY 'secret'",
			"GRANT ALL ON `e2e\\_%`.* TO app@'127.0.0.1'",
			"CREATE USER 'app-iam'@localhost",
			"GRANT ALL ON `e2e\\_%`.* TO 'app-iam'@localhost",
		},
		createDatabase: "CREATE DATABASE %s",
		iamUser:        "app-iam",

		connector: mysql.NewConnector,
		register:  mysql.RegisterDriver,
		dsn: func(instance string, who login, database string) string {
			user := who.user
			if who.password != "" {
				user += ":" + who.password
			}
			return fmt.Sprintf("%s@cloudsql-mysql(%s)/%s", user, instance, database)
		},
		loginRefused: func(err error) bool { return mysqlError(err) == 1045 }, // ER_ACCESS_DENIED_ERROR
		noDatabase:   func(err error) bool { return mysqlError(err) == 1049 }, // ER_BAD_DB_ERROR

		bind:        func(query string) string { return query },
		blob:        "longblob",
		currentUser: "select substring_index(user(), '@', 1)",
		sessionID:   "select connection_id()",
		sessions:    "select count(*) from information_schema.processlist where db = database()",
		sleep:       "select sleep(60)",
		sleepers:    "select id from information_schema.processlist where db = database() and info like 'select sleep%'",
		kill:        "kill query %d",
	}
}

// withPerformanceSchema has e look at other sessions in the performance schema: in
// MySQL, though not in MariaDB, the information schema's list fails while any session runs a
// statement that is no UTF-8 of three bytes, such as one with a BLOB in it.
func withPerformanceSchema(e *engine) *engine {
	e.args = append(e.args, "--performance-schema=ON")
	e.sessions = strings.ReplaceAll(e.sessions, "information_schema", "performance_schema")
	e.sleepers = strings.ReplaceAll(e.sleepers, "information_schema", "performance_schema")
	return e
}

// postgresError returns the SQLSTATE of the server's error in err, or "".
func postgresError(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}

// mysqlError returns the number of the server's error in err, or 0.
func mysqlError(err error) uint16 {
	if e, ok := errors.AsType[*mysqldriver.MySQLError](err); ok {
		return e.Number
	}
	return 0
}

// eachEngine runs a test for every engine.
func eachEngine(t *testing.T, test func(t *testing.T, e *engine)) {
	t.Helper()
	each(t, engines, test)
}

// eachMySQL runs a test for MariaDB and MySQL.
func eachMySQL(t *testing.T, test func(t *testing.T, e *engine)) {
	t.Helper()
	each(t, mysqlEngines, test)
}

// eachPostgres runs a test for every version of PostgreSQL.
func eachPostgres(t *testing.T, test func(t *testing.T, e *engine)) {
	t.Helper()
	each(t, postgresEngines, test)
}

func each(t *testing.T, engines []*engine, test func(t *testing.T, e *engine)) {
	t.Parallel()
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			test(t, e)
		})
	}
}
