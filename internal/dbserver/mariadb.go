package dbserver

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// StartMariaDB creates and starts a MariaDB server. Its character set is
// utf8mb4; its one user is the superuser 'root'@'localhost'.
//
// ctx ends the start, not the server; without an earlier deadline the start
// may take a minute. If a program is missing, the error wraps
// [ErrNotInstalled]; if one fails, the error holds the end of its output.
func StartMariaDB(ctx context.Context, opts Options) (*Server, error) {
	return newServer(ctx, &mariadb, opts)
}

var mariadb = engine{
	server:  "mariadbd",
	setup:   "mariadb-install-db",
	client:  "mariadb",
	places:  []string{"$PATH", "/usr/sbin", "/usr/libexec", "/opt/homebrew/opt/mariadb/bin", "/usr/local/opt/mariadb/bin"},
	install: "apt-get install mariadb-server-core mariadb-client-core, or brew install mariadb",
	socket:  func(int) string { return "mariadb.sock" },
	setupArgs: func(s *Server) []string {
		return append(mariadbArgs(s), "--auth-root-authentication-method=normal", "--skip-test-db")
	},
	serverArgs: func(s *Server) []string {
		return append(mariadbArgs(s),
			"--bind-address=127.0.0.1", "--port="+strconv.Itoa(s.port), "--socket="+s.SocketAddr(),
			"--character-set-server=utf8mb4")
	},
	clientArgs: func(s *Server, statements []string) []string {
		return []string{
			"--no-defaults", "--socket=" + s.SocketAddr(), "--user=root", "--default-character-set=utf8mb4",
			"--execute=" + strings.Join(statements, "\n;\n"),
		}
	},
	ready:       mariadbReady,
	stopSignals: []os.Signal{syscall.SIGTERM, syscall.SIGKILL},
}

func mariadbArgs(s *Server) []string {
	return []string{
		"--no-defaults", "--datadir=" + filepath.Join(s.dir, "data"), "--skip-name-resolve",
		"--innodb-log-file-size=8M", "--loose-innodb-flush-method=nosync",
	}
}

// mariadbReady reads the first packet: a greeting begins with the protocol
// version, an error with 0xff.
func mariadbReady(conn net.Conn) bool {
	var packet [5]byte
	_, err := io.ReadFull(conn, packet[:])
	return err == nil && packet[4] == 10
}
