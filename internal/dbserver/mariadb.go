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
	prepare: func(ctx context.Context, s *Server, installDB string) error {
		args := append(mariadbArgs(s), "--auth-root-authentication-method=normal", "--skip-test-db")
		if _, err := s.run(ctx, installDB, args...); err != nil {
			return err
		}
		file := filepath.Join(s.dir, "init.sql")
		if err := os.WriteFile(file, []byte(mariadbInit), 0o644); err != nil {
			return err
		}
		return os.Chmod(file, 0o644) // the server, another user, must read it whatever the umask
	},
	serverArgs: func(s *Server) []string {
		return append(mariadbArgs(s), "--init-file="+filepath.Join(s.dir, "init.sql"),
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

// mariadbInit removes what could log in without a password: anonymous users,
// and the other three root users that mariadb-install-db creates. It runs at
// every start, so it spares the users created since, all of which have an
// authentication_string.
const mariadbInit = `DELETE FROM mysql.global_priv WHERE User = '' OR (User = 'root' AND Host <> 'localhost' AND JSON_VALUE(Priv, '$.authentication_string') IS NULL);
FLUSH PRIVILEGES;
`

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
