// Package dbserver starts private PostgreSQL, MariaDB and MySQL servers from the
// binaries installed on the machine, for tests and for the quickstart example.
// It knows nothing of Cloud SQL but who may log in how.
//
// [StartPostgres], [StartMariaDB] and [StartMySQL] create a database in a
// temporary folder and return once the server accepts logins; [Server.Close] stops it and
// removes the folder. A server listens on a port of 127.0.0.1 and on a Unix
// socket in its folder, and lets clients in as Cloud SQL would after the
// connector authenticated them:
//
//   - over TCP every login needs a password, so user-and-password logins are
//     forwarded there. PostgreSQL asks for SCRAM-SHA-256. In MariaDB and MySQL
//     no user can log in over TCP until one is created, as 'name'@'127.0.0.1'
//     or 'name'@'%'.
//   - over the Unix socket no password is needed, so IAM logins, whose token
//     only Cloud SQL could check, are forwarded there. PostgreSQL trusts every
//     existing role; MariaDB and MySQL take 'name'@'localhost', created
//     without a password.
//
// The superuser, postgres or root, has no password and so only the socket.
// [Server.Exec] runs SQL as the superuser, to create users and databases.
//
// None of them survives a crash of the machine: it syncs nothing to disk.
// Windows is not supported; to start a server there fails with
// [errors.ErrUnsupported].
package dbserver

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Options says which server to run, and how. The zero value runs the newest
// PostgreSQL, or the first MariaDB or MySQL, found in the usual places.
type Options struct {
	// BinDir, if not empty, is the only folder in which the server's programs
	// are looked for; the client that [Server.Exec] needs may be elsewhere.
	// When root starts the server, the user postgres, or else nobody, must be
	// able to read the folder.
	BinDir string

	// Args are further arguments of the server, such as "-c",
	// "wal_level=logical" for PostgreSQL or "--log-bin" for MariaDB.
	Args []string
}

// Server is a private database server. Its methods may be called by several
// goroutines at once.
type Server struct {
	engine  *engine
	opts    Options
	dir     string // holds the data, the log and the socket
	sys     *syscall.SysProcAttr
	program string // path of the server program
	version string
	port    int

	mu   sync.Mutex // held to start and to stop
	proc *process   // the last one started, nil if none was
}

// engine is what differs between the databases.
type engine struct {
	server, setup, client string   // names of programs
	places                []string // patterns of the folders they are in, or variables that list folders, such as "$PATH"
	not                   string   // whose server of that name is another product; "" is nobody's
	install               string   // how to install them

	socket      func(port int) string                                    // name of the Unix socket
	prepare     func(ctx context.Context, s *Server, setup string) error // creates the data
	serverArgs  func(s *Server) []string
	clientArgs  func(s *Server, statements []string) []string
	ready       func(conn net.Conn) bool // reports whether the server accepts logins
	stopSignals []os.Signal              // from polite to deadly
}

const startTimeout = time.Minute

var versionPattern = regexp.MustCompile(`(?:Ver|\(PostgreSQL\)) (\d[\w.]*)`)

func newServer(ctx context.Context, e *engine, opts Options) (_ *Server, err error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	s := &Server{engine: e, opts: opts}
	if s.dir, s.sys, err = newDir(); err != nil {
		return nil, fmt.Errorf("dbserver: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()

	if s.program, err = find(e, e.server, opts.BinDir); err != nil {
		return nil, err
	}
	setup, err := find(e, e.setup, opts.BinDir)
	if err != nil {
		return nil, err
	}
	out, err := s.run(ctx, s.program, "--version")
	if err != nil {
		return nil, err
	}
	if e.not != "" && strings.Contains(out, e.not) {
		return nil, fmt.Errorf("%w: %s is %s's; %s", ErrNotInstalled, s.program, e.not, e.install)
	}
	if m := versionPattern.FindStringSubmatch(out); m != nil {
		s.version = m[1]
	}
	if err := e.prepare(ctx, s, setup); err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		// Below the ephemeral ports of Linux and macOS, so that no outgoing
		// connection takes the port while the server is stopped.
		s.port = 20000 + rand.IntN(12000)
		if err = s.Start(ctx); err == nil {
			return s, nil
		}
		if try == 10 || !portTaken(s.TCPAddr()) {
			return nil, err
		}
	}
}

func portTaken(addr string) bool {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return true
	}
	l.Close()
	return false
}

// TCPAddr returns the address for logins with a password, such as
// "127.0.0.1:20123". It never changes.
func (s *Server) TCPAddr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// SocketAddr returns the path of the Unix socket for logins without a
// password. It never changes. Only the user who started the server, and root,
// can open the socket.
//
// PostgreSQL's is named ".s.PGSQL." and the port; psql and pgx want the folder
// as the host.
func (s *Server) SocketAddr() string { return filepath.Join(s.dir, s.engine.socket(s.port)) }

// Version returns the version of the server, such as "15.18" or "9.7.4".
func (s *Server) Version() string { return s.version }

// Exec runs the statements as the superuser over the Unix socket and stops at
// the first that fails. It needs the command line client, psql, mariadb or mysql,
// and fails with [ErrNotInstalled] without it; other errors hold what the client
// printed.
//
// The statements run in one session, each committed by itself. The session
// begins in PostgreSQL's database postgres and in no database of the others;
// `\connect NAME` or "USE NAME" changes to another.
func (s *Server) Exec(ctx context.Context, statements ...string) error {
	client, err := find(s.engine, s.engine.client, s.opts.BinDir)
	if err != nil {
		client, err = find(s.engine, s.engine.client, "")
	}
	if err != nil {
		return err
	}
	_, err = s.run(ctx, client, s.engine.clientArgs(s, statements)...)
	return err
}

// Start starts a stopped server, with the data and addresses it had, and
// returns when it accepts logins. It does nothing if the server runs. It gives
// up when ctx ends, at the latest after a minute, or when the server exits; the
// error then holds the end of the server's log.
func (s *Server) Start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc != nil && s.proc.running() {
		return nil
	}
	return s.startLocked(ctx)
}

// Stop stops the server, which closes its connections, and waits until it
// exited. It does nothing if the server does not run.
func (s *Server) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopLocked()
}

// Restart calls Stop and Start.
func (s *Server) Restart(ctx context.Context) error {
	if err := s.Stop(); err != nil {
		return err
	}
	return s.Start(ctx)
}

// Close stops the server and removes its files, after which it cannot be
// started again. To close it again does nothing.
//
// If the process ends without Close, the server stops by itself on Linux and
// runs on elsewhere; the files, in dbserver-* of the folder for temporary files,
// stay.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.stopLocked(), os.RemoveAll(s.dir))
}
