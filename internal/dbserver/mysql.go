package dbserver

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// StartMySQL creates and starts a MySQL server of version 8.4 or later. Its
// character set is utf8mb4; its one user is the superuser 'root'@'localhost'. It
// has TLS, with a certificate of its own, and no performance schema; Args can
// change both.
//
// A mysqld that is MariaDB's counts as missing. Otherwise StartMySQL is like
// [StartMariaDB].
func StartMySQL(ctx context.Context, opts Options) (*Server, error) {
	return newServer(ctx, &mysql, opts)
}

var mysql = engine{
	server: "mysqld",
	setup:  "mysqld",
	client: "mysql",
	// Where nothing but MySQL is comes first: MariaDB has programs of the same
	// names.
	places: []string{
		"$MYSQL_97_BIN", "/usr/local/mysql/bin", "/opt/homebrew/opt/mysql/bin", "/usr/local/opt/mysql/bin",
		"$PATH", "/usr/sbin", "/usr/libexec",
	},
	not:     "MariaDB",
	install: "apt-get install mysql-server-core mysql-client-core, or brew install mysql",
	socket:  func(int) string { return "mysql.sock" },
	prepare: func(ctx context.Context, s *Server, mysqld string) error {
		_, err := s.run(ctx, mysqld, append(mysqlArgs(s), "--initialize-insecure")...)
		return err
	},
	serverArgs: func(s *Server) []string {
		return append(mysqlArgs(s), "--bind-address=127.0.0.1", "--port="+strconv.Itoa(s.port), "--socket="+s.SocketAddr(),
			"--pid-file="+filepath.Join(s.dir, "pid"), "--mysqlx=OFF")
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

// mysqlArgs keep files small, and off the disk for as long as can be.
func mysqlArgs(s *Server) []string {
	return []string{
		"--no-defaults", "--datadir=" + filepath.Join(s.dir, "data"), "--skip-name-resolve",
		"--innodb-redo-log-capacity=32M", "--innodb-buffer-pool-size=32M", "--innodb-doublewrite=OFF", "--innodb-flush-method=nosync",
		"--skip-log-bin", "--performance-schema=OFF", "--secure-file-priv=",
	}
}
