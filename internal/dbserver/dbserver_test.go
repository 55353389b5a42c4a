package dbserver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// database is what the tests need to know of each database.
type database struct {
	name  string
	start func(context.Context, Options) (*Server, error)

	createUser string // app, with the password "secret"
	createIAM  string // iam, who only uses the socket
	superuser  string
	badArg     string // a server argument that is refused
	hello      string // what a client has to send before the server replies
}

var databases = []database{
	{
		name:       "postgres",
		start:      StartPostgres,
		createUser: "CREATE ROLE app LOGIN PASSWORD 'secret' IN ROLE pg_read_all_data",
		createIAM:  "CREATE ROLE iam LOGIN",
		superuser:  "postgres",
		badArg:     "--no_such_setting=1",
		hello:      "\x00\x00\x00\x08\x04\xd2\x16\x2f", // SSLRequest
	},
	{
		name:       "mariadb",
		start:      StartMariaDB,
		createUser: "CREATE USER app@'%' IDENTIFIED BY 'secret'; GRANT ALL ON shop.* TO app@'%'",
		createIAM:  "CREATE USER iam@localhost",
		superuser:  "root",
		badArg:     "--no-such-setting=1",
	},
	{
		name:       "mysql",
		start:      StartMySQL,
		createUser: "CREATE USER app@'%' IDENTIFIED BY 'secret'; GRANT ALL ON shop.* TO app@'%'",
		createIAM:  "CREATE USER iam@localhost",
		superuser:  "root",
		badArg:     "--no-such-setting=1",
	},
}

// TestMain fails if the tests leave a goroutine behind. As the process that
// TestServerStopsWhenStarterIsKilled kills, it starts a server and hangs.
func TestMain(m *testing.M) {
	for _, db := range databases {
		if os.Getenv("DBSERVER_TEST_START") == db.name {
			s, err := db.start(context.Background(), Options{})
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			fmt.Println(s.TCPAddr(), s.dir)
			select {}
		}
	}
	code := m.Run()
	deadline := time.Now().Add(5 * time.Second)
	for runtime.NumGoroutine() > 1 && code == 0 {
		runtime.Gosched()
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			fmt.Printf("goroutines left:\n%s", stacks[:runtime.Stack(stacks, true)])
			code = 1
		}
	}
	os.Exit(code)
}

// eachDatabase runs the test for every database. If one is not installed, that
// is a failure in CI.
func eachDatabase(t *testing.T, test func(t *testing.T, db database)) {
	t.Parallel()
	for _, db := range databases {
		t.Run(db.name, func(t *testing.T) {
			t.Parallel()
			test(t, db)
		})
	}
}

func start(t *testing.T, db database) *Server {
	t.Helper()
	s, err := db.start(t.Context(), Options{})
	skipIfMissing(t, err)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { want(t, s.Close()) })
	return s
}

// connect opens a TCP connection and waits until the server serves it:
// PostgreSQL does not close one that it accepts while shutting down before the
// client sends a packet, or a minute has passed.
func connect(t *testing.T, db database, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(conn, db.hello); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// wantClosed waits until the server closed the connection.
func wantClosed(t *testing.T, conn net.Conn) {
	t.Helper()
	if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the server keeps the connection open")
	}
}

func skipIfMissing(t *testing.T, err error) {
	t.Helper()
	if errors.Is(err, ErrNotInstalled) || errors.Is(err, errors.ErrUnsupported) {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

func want(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

func wantError(t *testing.T, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("got error %v, want one with %q", err, text)
	}
}

// query runs a query with the command line client, over the Unix socket if
// socket is set, else over TCP.
func query(t *testing.T, s *Server, socket bool, user, password, sql string) (string, error) {
	t.Helper()
	client, err := find(s.engine, s.engine.client, "")
	if err != nil {
		t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(s.TCPAddr())
	var args []string
	switch {
	case s.engine == &postgres && socket:
		args = []string{"-XwtA", "-h", filepath.Dir(s.SocketAddr()), "-p", port, "-U", user, "-d", "postgres", "-c", sql}
	case s.engine == &postgres:
		args = []string{"-XwtA", "-h", host, "-p", port, "-U", user, "-d", "postgres", "-c", sql}
	case socket:
		args = []string{"--no-defaults", "-N", "-S", s.SocketAddr(), "-u", user, "-e", sql}
	default:
		args = []string{"--no-defaults", "-N", "-h", host, "-P", port, "-u", user, "-e", sql}
	}
	cmd := exec.CommandContext(t.Context(), client, args...)
	cmd.Env = append(os.Environ(), "PGPASSWORD="+password, "MYSQL_PWD="+password)
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// TestServer runs its parts in order, on one server for each database, because
// a server takes a second of two processors to create.
func TestServer(t *testing.T) {
	eachDatabase(t, func(t *testing.T, db database) {
		s := start(t, db)
		want(t, s.Exec(t.Context(), db.createUser, db.createIAM))
		for _, part := range []struct {
			name string
			test func(*testing.T, database, *Server)
		}{
			{"OnlySocketLetsInWithoutPassword", onlySocketLetsInWithoutPassword},
			{"ExecStopsAtFirstError", execStopsAtFirstError},
			{"DataAndAddressesSurviveRestart", dataAndAddressesSurviveRestart},
			{"StartsAgainAfterCrash", startsAgainAfterCrash},
			{"StartFailsWhilePortIsTaken", startFailsWhilePortIsTaken},
			{"CancelEndsStart", cancelEndsStart},
			{"CloseRemovesEverything", closeRemovesEverything},
		} {
			t.Run(part.name, func(t *testing.T) { part.test(t, db, s) })
		}
	})
}

func onlySocketLetsInWithoutPassword(t *testing.T, db database, s *Server) {
	for _, login := range []struct {
		socket         bool
		user, password string
		ok             bool
	}{
		{socket: false, user: "app", password: "secret", ok: true},
		{socket: false, user: "app", password: "wrong"},
		{socket: false, user: "app"},
		{socket: false, user: "iam"},
		{socket: false, user: db.superuser},
		{socket: false, user: "nosuchuser"},
		{socket: true, user: "iam", ok: true},
		{socket: true, user: "iam", password: "token", ok: db.name == "postgres"},
		{socket: true, user: db.superuser, ok: true},
		{socket: true, user: "nosuchuser"},
	} {
		if out, err := query(t, s, login.socket, login.user, login.password, "SELECT 1"); (err == nil) != login.ok {
			t.Errorf("%+v: %s, %v", login, out, err)
		}
	}
}

func execStopsAtFirstError(t *testing.T, db database, s *Server) {
	err := s.Exec(t.Context(), "CREATE SCHEMA a", "CREATE NONSENSE", "CREATE SCHEMA b")
	wantError(t, err, "NONSENSE")
	out, err := query(t, s, true, db.superuser, "",
		"SELECT schema_name FROM information_schema.schemata WHERE schema_name IN ('a', 'b')")
	if out != "a" || err != nil {
		t.Errorf("got schemas %q, %v, want a", out, err)
	}
}

func dataAndAddressesSurviveRestart(t *testing.T, db database, s *Server) {
	tcp, socket := s.TCPAddr(), s.SocketAddr()
	want(t, s.Exec(t.Context(),
		"CREATE SCHEMA shop",
		"CREATE TABLE shop.fruit (name varchar(20)); -- a comment",
		"INSERT INTO shop.fruit VALUES ('Äpfel');",
	))

	want(t, s.Restart(t.Context()))
	want(t, s.Start(t.Context()))

	out, err := query(t, s, false, "app", "secret", "SELECT char_length(name) FROM shop.fruit")
	if out != "5" || err != nil {
		t.Errorf("after the restart: %q, %v", out, err)
	}
	if s.TCPAddr() != tcp || s.SocketAddr() != socket {
		t.Errorf("addresses changed to %s and %s", s.TCPAddr(), s.SocketAddr())
	}
	if !strings.Contains(s.Version(), ".") {
		t.Errorf("version is %q", s.Version())
	}
}

func startsAgainAfterCrash(t *testing.T, db database, s *Server) {
	s.proc.cmd.Process.Signal(s.engine.stopSignals[1]) // without a clean shutdown
	<-s.proc.exited
	want(t, s.Start(t.Context()))
	want(t, s.Exec(t.Context(), "SELECT 1"))
}

func startFailsWhilePortIsTaken(t *testing.T, db database, s *Server) {
	want(t, s.Stop())
	want(t, s.Stop())
	l, err := net.Listen("tcp", s.TCPAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	wantError(t, s.Start(t.Context()), "ddress already in use")
	l.Close()
	want(t, s.Start(t.Context()))
}

func cancelEndsStart(t *testing.T, db database, s *Server) {
	want(t, s.Stop())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Start(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Start of a server: %v", err)
	}
	if s.proc.running() {
		t.Error("the server runs")
	}
	want(t, s.Start(t.Context()))

	ctx, cancel = context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := db.start(ctx, Options{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("start of a new server: %v", err)
	}
}

func closeRemovesEverything(t *testing.T, db database, s *Server) {
	conn := connect(t, db, s.TCPAddr())

	want(t, s.Close())
	want(t, s.Close())

	wantClosed(t, conn)
	if _, err := os.Stat(s.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("stat of the folder: %v", err)
	}
	if conn, err := net.Dial("tcp", s.TCPAddr()); err == nil {
		conn.Close()
		t.Error("the port still accepts connections")
	}
	wantError(t, s.Start(t.Context()), "no such file")
}

func TestStartTellsWhyServerExits(t *testing.T) {
	eachDatabase(t, func(t *testing.T, db database) {
		_, err := db.start(t.Context(), Options{Args: []string{db.badArg}})
		skipIfMissing(t, err)
		wantError(t, err, "exit status")
		wantError(t, err, strings.Trim(db.badArg, "-=1"))
	})
}

func TestMissingProgramIsNamed(t *testing.T) {
	eachDatabase(t, func(t *testing.T, db database) {
		dir := t.TempDir()
		_, err := db.start(t.Context(), Options{BinDir: dir})
		if errors.Is(err, errors.ErrUnsupported) {
			t.Skip(err)
		}
		if !errors.Is(err, ErrNotInstalled) {
			t.Errorf("got %v", err)
		}
		wantError(t, err, db.name)
		wantError(t, err, dir)
		wantError(t, err, "apt-get install")
	})
}

func TestServerStopsWhenStarterIsKilled(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells a process that its parent is gone")
	}
	eachDatabase(t, func(t *testing.T, db database) {
		starter := exec.CommandContext(t.Context(), os.Args[0])
		starter.Env = append(os.Environ(), "DBSERVER_TEST_START="+db.name)
		stderr := new(strings.Builder)
		starter.Stderr = stderr
		stdout, err := starter.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := starter.Start(); err != nil {
			t.Fatal(err)
		}
		line, _ := bufio.NewReader(stdout).ReadString('\n')
		addr, dir, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok {
			starter.Wait()
			if strings.Contains(stderr.String(), ErrNotInstalled.Error()) {
				skipIfMissing(t, fmt.Errorf("%w %s", ErrNotInstalled, stderr))
			}
			t.Fatal(stderr)
		}
		conn := connect(t, db, addr)

		starter.Process.Kill()
		starter.Wait()

		wantClosed(t, conn)
		for os.RemoveAll(dir) != nil { // the server may still write
		}
	})
}

// A machine with MariaDB has its server as mysqld, too.
func TestAMysqldOfMariaDBIsNotMySQL(t *testing.T) {
	dir := t.TempDir()
	script := "#!/bin/sh\necho 'mysqld  Ver 10.11.19-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)'\n"
	want(t, os.WriteFile(filepath.Join(dir, "mysqld"), []byte(script), 0o755))
	for parent := dir; os.Geteuid() == 0 && parent != os.TempDir(); parent = filepath.Dir(parent) {
		want(t, os.Chmod(parent, 0o755)) // the server is another user
	}
	_, err := StartMySQL(t.Context(), Options{BinDir: dir})
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	if !errors.Is(err, ErrNotInstalled) {
		t.Errorf("got %v", err)
	}
	wantError(t, err, filepath.Join(dir, "mysqld")+" is MariaDB's")
	wantError(t, err, "apt-get install")
}

func TestServersLieInTheFolderForTemporaryFiles(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there are no servers")
	}
	open, err := os.MkdirTemp("/tmp", "")
	want(t, err)
	t.Cleanup(func() { want(t, os.RemoveAll(open)) })
	want(t, os.Chmod(open, 0o755))
	long := filepath.Join(open, strings.Repeat("x", 80))
	want(t, os.Mkdir(long, 0o755))
	closed := filepath.Join(open, "closed")
	want(t, os.Mkdir(closed, 0o700))
	for dir, parent := range map[string]string{open: open, long: "/tmp", closed: closed} {
		if dir == closed && os.Geteuid() == 0 {
			parent = "/tmp" // the server's user could not go there
		}
		t.Setenv("TMPDIR", dir)
		made, _, err := newDir()
		want(t, err)
		if filepath.Dir(made) != parent {
			t.Errorf("TMPDIR=%s: the server lies in %s", dir, made)
		}
		want(t, os.Remove(made))
	}
}
