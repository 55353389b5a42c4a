// Cloudsql-emulator is cmd/cloudsql-emulator of the root module with databases
// in it, for the backend embedded: nothing has to be installed.
//
//	cloudsql-emulator -engine postgres -backend embedded
//	cloudsql-emulator -engine mysql -backend embedded
//
// The README.md of this module says what they are.
package main

import (
	"context"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/sirupsen/logrus"

	"github.com/cloudsqlconn/cloudsqlconn/embedded/mysqlmemory"
	"github.com/cloudsqlconn/cloudsqlconn/embedded/pgsqlite"
	"github.com/cloudsqlconn/cloudsqlconn/internal/emulator"
)

var databases = emulator.Embedded{"postgres": openPostgres, "mysql": openMySQL}

func main() {
	logrus.SetLevel(logrus.ErrorLevel) // go-mysql-server's, which logs every connection
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := emulator.Run(ctx, os.Args[1:], os.Stdout, os.Stderr, databases)
	stop()
	os.Exit(code)
}

func openPostgres(user, password, _ string) (*emulator.Database, error) {
	db, err := pgsqlite.New()
	if err != nil {
		return nil, err
	}
	return &emulator.Database{
		About:    "SQLite, speaking PostgreSQL's protocol",
		Version:  "POSTGRES_15",
		Serve:    func(conn net.Conn) { db.ServeConnWithPassword(conn, user, password) },
		ServeIAM: db.ServeConn,
		Close:    db.Close,
	}, nil
}

func openMySQL(user, password, database string) (*emulator.Database, error) {
	db, err := mysqlmemory.New(database)
	if err != nil {
		return nil, err
	}
	return &emulator.Database{
		About:    "go-mysql-server, in memory",
		Version:  "MYSQL_8_0",
		Serve:    func(conn net.Conn) { db.ServeConnWithPassword(conn, user, password) },
		ServeIAM: db.ServeConn,
		Close:    db.Close,
	}, nil
}
