package dbserver

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// StartPostgres creates and starts a PostgreSQL server. Its encoding is UTF-8,
// its locale C, its superuser postgres.
//
// ctx ends the start, not the server; without an earlier deadline the start
// may take a minute. If a program is missing, the error wraps
// [ErrNotInstalled]; if one fails, the error holds the end of its output.
func StartPostgres(ctx context.Context, opts Options) (*Server, error) {
	return newServer(ctx, &postgres, opts)
}

var postgres = engine{
	server: "postgres",
	setup:  "initdb",
	client: "psql",
	places: []string{
		"/usr/lib/postgresql/*/bin",
		"/usr/pgsql-*/bin",
		"/opt/homebrew/opt/postgresql@*/bin",
		"/usr/local/opt/postgresql@*/bin",
		"$PATH",
	},
	install: "apt-get install postgresql, or brew install postgresql@18",
	socket:  func(port int) string { return fmt.Sprintf(".s.PGSQL.%d", port) },
	prepare: func(ctx context.Context, s *Server, initdb string) error {
		_, err := s.run(ctx, initdb, "-D", filepath.Join(s.dir, "data"), "--no-sync",
			"--username=postgres", "--auth-local=trust", "--auth-host=scram-sha-256",
			"--encoding=UTF8", "--locale=C")
		return err
	},
	serverArgs: func(s *Server) []string {
		return []string{
			"-D", filepath.Join(s.dir, "data"), "-k", s.dir, "-p", strconv.Itoa(s.port),
			"-c", "listen_addresses=127.0.0.1", "-c", "password_encryption=scram-sha-256",
			"-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off",
		}
	},
	clientArgs: func(s *Server, statements []string) []string {
		args := []string{
			"-X", "-q", "-v", "ON_ERROR_STOP=1",
			"-h", s.dir, "-p", strconv.Itoa(s.port), "-U", "postgres", "-d", "postgres",
		}
		for _, statement := range statements {
			args = append(args, "-c", statement)
		}
		return args
	},
	ready: postgresReady,
	// Fast, immediate, and no shutdown at all.
	stopSignals: []os.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGKILL},
}

// postgresReady logs in and out. A server that is not ready yet answers with an
// error.
func postgresReady(conn net.Conn) bool {
	const (
		protocol3  = 3 << 16
		parameters = "user\x00postgres\x00database\x00postgres\x00\x00"
		terminate  = "X\x00\x00\x00\x04"
	)
	msg := binary.BigEndian.AppendUint32(nil, uint32(8+len(parameters)))
	msg = binary.BigEndian.AppendUint32(msg, protocol3)
	if _, err := io.WriteString(conn, string(msg)+parameters+terminate); err != nil {
		return false
	}
	reply, _ := io.ReadAll(conn)
	return len(reply) > 0 && reply[0] == 'R'
}
