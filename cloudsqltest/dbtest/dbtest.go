// Package dbtest starts private database servers for tests, of the programs that
// are installed on the machine: PostgreSQL, MariaDB or MySQL. It needs no
// container, no root and no network.
//
//	func TestOrders(t *testing.T) {
//		db := dbtest.New(t, dbtest.PostgreSQL,
//			"CREATE ROLE app LOGIN PASSWORD 'secret'", "CREATE DATABASE shop OWNER app")
//		cloud := cloudsqltest.NewServer()
//		t.Cleanup(cloud.Close)
//		cloud.AddInstance("my-project:europe-west1:my-db", db.Instance())
//		...
//
// A server takes a second or two to start; [Start] is for one that all tests of a
// package share. Its data lies in a folder for temporary files, is not synced to
// disk, and goes when the server does.
//
// A machine without database servers can have databases in the test's process:
// the module github.com/cloudsqlconn/cloudsqlconn/embedded has pgsqlite and
// mysqlmemory, whose ServeConn is a Handler of an instance.
package dbtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/dbserver"
)

// Engine is a database server to start.
type Engine string

// The servers. Each is looked for in the usual places of its packages and in
// $PATH: the newest PostgreSQL, the first of the others. MySQL is 8.4 or later.
const (
	PostgreSQL Engine = "PostgreSQL"
	MariaDB    Engine = "MariaDB"
	MySQL      Engine = "MySQL"
)

// ErrNotInstalled is in the error of [Start] when the server, or the client that
// Exec needs, is not installed. The error says how to install it.
var ErrNotInstalled = dbserver.ErrNotInstalled

// New starts a server and runs sql as [Server.Exec] does. It is closed when the
// test is over. A server that is not installed skips the test, and fails it if
// the environment has CI=true; everything else that goes wrong fails it.
func New(t testing.TB, e Engine, sql ...string) *Server {
	t.Helper()
	s, err := Start(t.Context(), e, sql...)
	missing := errors.Is(err, ErrNotInstalled) || errors.Is(err, errors.ErrUnsupported)
	switch {
	case missing && os.Getenv("CI") != "true":
		t.Skip(err)
	case err != nil:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Start starts a server and runs sql as [Server.Exec] does. ctx ends the start,
// which takes a minute at most, and not the server: that is for [Server.Close].
// On Windows the error is [errors.ErrUnsupported].
func Start(ctx context.Context, e Engine, sql ...string) (*Server, error) {
	start, ok := map[Engine]func(context.Context, dbserver.Options) (*dbserver.Server, error){
		PostgreSQL: dbserver.StartPostgres,
		MariaDB:    dbserver.StartMariaDB,
		MySQL:      dbserver.StartMySQL,
	}[e]
	if !ok {
		return nil, fmt.Errorf("dbtest: unknown engine %q; want PostgreSQL, MariaDB or MySQL", string(e))
	}
	server, err := start(ctx, dbserver.Options{})
	if err != nil {
		return nil, err
	}
	s := &Server{e, server}
	if err := s.Exec(ctx, sql...); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Server is a private database server. Its methods may be called by several
// goroutines at once.
type Server struct {
	engine Engine
	server *dbserver.Server
}

// Instance returns an instance with the server behind it, whose version the
// Admin API reports; MariaDB's is MYSQL_8_0. Logins with a password go to
// TCPAddr, IAM logins to SocketAddr. Everything else can be changed.
func (s *Server) Instance() cloudsqltest.Instance {
	return cloudsqltest.Instance{DatabaseVersion: s.databaseVersion(), Backend: s.TCPAddr(), IAMBackend: s.SocketAddr()}
}

func (s *Server) databaseVersion() string {
	major, rest, _ := strings.Cut(s.Version(), ".")
	switch s.engine {
	case PostgreSQL:
		return "POSTGRES_" + major
	case MySQL:
		minor, _, _ := strings.Cut(rest, ".")
		return "MYSQL_" + major + "_" + minor
	}
	return "MYSQL_8_0"
}

// TCPAddr returns where every login needs a password, such as 127.0.0.1:20123.
// It never changes. A user of MariaDB and MySQL who is to log in here is created
// as 'name'@'127.0.0.1' or 'name'@'%'.
func (s *Server) TCPAddr() string { return s.server.TCPAddr() }

// SocketAddr returns the path of the unix socket, where no login needs a
// password. It never changes. PostgreSQL lets every role in; a user of MariaDB
// and MySQL is created as 'name'@'localhost', without a password.
func (s *Server) SocketAddr() string { return s.server.SocketAddr() }

// Version returns the server's version, such as 18.1, or "" if it tells none.
func (s *Server) Version() string { return s.server.Version() }

// Exec runs statements as the superuser, one after the other and each committed
// by itself, up to the first that fails. They share a session, which begins in
// PostgreSQL's database postgres, and in none of the others; `\connect shop` or
// "USE shop" changes to another. It needs the command line client: psql, mariadb
// or mysql.
func (s *Server) Exec(ctx context.Context, statements ...string) error {
	if len(statements) == 0 {
		return nil
	}
	return s.server.Exec(ctx, statements...)
}

// Stop stops the server, which ends its connections; Resume starts it again. It
// does nothing if the server does not run.
func (s *Server) Stop() error { return s.server.Stop() }

// Resume starts a server that was stopped, with the data and addresses that it
// had, and returns when it accepts logins, or ctx has ended.
func (s *Server) Resume(ctx context.Context) error { return s.server.Start(ctx) }

// Close stops the server for good and removes its files. It can be called again.
// If the process ends without it, the server ends by itself on Linux, and runs on
// elsewhere.
func (s *Server) Close() error { return s.server.Close() }
