// Package dbtest starts private database servers for tests, from the programs that
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
// A server takes a second or two to start; use [Start] for one that all tests of a
// package share. Its data is in a temporary folder, is not synced to disk, and is
// removed when the server is closed.
//
// A machine without database servers can run databases in the test's process: the
// module github.com/cloudsqlconn/cloudsqlconn/embedded has pgsqlite and mysqlmemory,
// whose ServeConn can be the Handler of an instance.
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

// The servers. Each is looked for where its packages usually install it and in
// $PATH: the newest PostgreSQL, the first of the others found. MySQL has to be 8.4
// or later.
const (
	PostgreSQL Engine = "PostgreSQL"
	MariaDB    Engine = "MariaDB"
	MySQL      Engine = "MySQL"
)

// ErrNotInstalled is in the error of [Start] when the server, or the client that
// Exec needs, is not installed. The error says how to install it.
var ErrNotInstalled = dbserver.ErrNotInstalled

// New starts a server and runs sql as [Server.Exec] does. The server is closed when
// the test is over. If it is not installed, the test is skipped, or fails if the
// environment has CI=true; the test fails if anything else goes wrong.
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

// Start starts a server and runs sql as [Server.Exec] does. The end of ctx ends the
// start, which takes a minute at most, but not the server: see [Server.Close].
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
// Admin API reports; for MariaDB it is MYSQL_8_0. Logins with a password go to
// TCPAddr, IAM logins to SocketAddr. All other fields can be changed.
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

// TCPAddr returns the address at which every login needs a password, such as
// 127.0.0.1:20123. It never changes. Create a user of MariaDB or MySQL who is to log
// in here as 'name'@'127.0.0.1' or 'name'@'%'.
func (s *Server) TCPAddr() string { return s.server.TCPAddr() }

// SocketAddr returns the path of the unix socket, where no login needs a
// password. It never changes. PostgreSQL lets every role in; create a user of
// MariaDB or MySQL as 'name'@'localhost', without a password.
func (s *Server) SocketAddr() string { return s.server.SocketAddr() }

// Version returns the server's version, such as 18.1, or "" if it reports none.
func (s *Server) Version() string { return s.server.Version() }

// Exec runs statements as the superuser, one after the other and each committed
// separately, up to the first that fails. They share a session, which starts in
// the database postgres of PostgreSQL, and in no database of the others;
// `\connect shop` or "USE shop" switches to another. Exec needs the command line
// client: psql, mariadb or mysql.
func (s *Server) Exec(ctx context.Context, statements ...string) error {
	if len(statements) == 0 {
		return nil
	}
	return s.server.Exec(ctx, statements...)
}

// Stop stops the server, which ends its connections; Resume starts it again. Stop
// does nothing if the server is not running.
func (s *Server) Stop() error { return s.server.Stop() }

// Resume starts a server that was stopped, with its data and addresses as before,
// and returns when it accepts logins, or when ctx has ended.
func (s *Server) Resume(ctx context.Context) error { return s.server.Start(ctx) }

// Close stops the server for good and removes its files. It can be called again.
// If the process ends without calling Close, the server ends as well on Linux, and
// keeps running elsewhere.
func (s *Server) Close() error { return s.server.Close() }
