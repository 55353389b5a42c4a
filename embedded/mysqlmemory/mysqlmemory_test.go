package mysqlmemory

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/go-sql-driver/mysql"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// world is an engine that clients reach through pipes.
type world struct {
	t      *testing.T
	engine *Engine
	served sync.WaitGroup
}

func newWorld(t *testing.T) *world {
	t.Helper()
	e, err := New("app")
	must(t, err)
	w := &world{t: t, engine: e}
	t.Cleanup(func() { must(t, e.Close()); w.served.Wait() })
	return w
}

// open logs in, where serve decides about it.
func (w *world) open(user, password string, serve func(net.Conn)) *sql.DB {
	w.t.Helper()
	return w.openWrapped(user, password, serve, func(c net.Conn) net.Conn { return c })
}

// openWrapped is open with the client's side of each connection wrapped.
func (w *world) openWrapped(user, password string, serve func(net.Conn), wrap func(net.Conn) net.Conn) *sql.DB {
	w.t.Helper()
	cfg := mysql.NewConfig()
	cfg.Net, cfg.Addr, cfg.User, cfg.Passwd, cfg.DBName, cfg.ParseTime = "pipe", "engine", user, password, "app", true
	cfg.DialFunc = func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		w.served.Go(func() { serve(server) })
		return wrap(client), nil
	}
	connector, err := mysql.NewConnector(cfg)
	must(w.t, err)
	db := sql.OpenDB(connector)
	w.t.Cleanup(func() { _ = db.Close() })
	return db
}

func (w *world) withPassword(c net.Conn) { w.engine.ServeConnWithPassword(c, "app", "secret") }

func count(t *testing.T, db interface {
	QueryRowContext(context.Context, string, ...any) *sql.Row
}) (n int) {
	t.Helper()
	must(t, db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM t").Scan(&n))
	return n
}

func TestKeepsWhatIsWritten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	db := w.open("app", "secret", w.withPassword)
	_, err := db.ExecContext(t.Context(), "CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(20) NOT NULL, ok BOOLEAN)")
	must(t, err)
	result, err := db.ExecContext(t.Context(), "INSERT INTO t (name, ok) VALUES (?, ?), (?, ?)", "Ann", true, "Bob", nil)
	must(t, err)
	if n, _ := result.RowsAffected(); n != 2 {
		t.Errorf("%d rows, want 2", n)
	}
	var name, user string
	var ok *bool
	must(t, w.open("ann", "", w.engine.ServeConn).QueryRowContext(t.Context(), "SELECT name, ok, CURRENT_USER() FROM t WHERE id = ?", 1).Scan(&name, &ok, &user))
	if name != "Ann" || ok == nil || !*ok || user != "ann@localhost" {
		t.Errorf("got %s, %v, %s", name, ok, user)
	}
	var failure *mysql.MySQLError
	if _, err = db.ExecContext(t.Context(), "INSERT INTO t VALUES (1, 'Eve', false)"); !errors.As(err, &failure) || failure.Number != 1062 {
		t.Errorf("a second 1: got %v, want 1062", err)
	}
}

func TestRollbackUndoes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	db := w.open("app", "secret", w.withPassword)
	_, err := db.ExecContext(t.Context(), "CREATE TABLE t (id INT PRIMARY KEY)")
	must(t, err)
	tx, err := db.BeginTx(t.Context(), nil)
	must(t, err)
	_, err = tx.ExecContext(t.Context(), "INSERT INTO t VALUES (1)")
	must(t, err)
	if n := count(t, tx); n != 1 {
		t.Errorf("the transaction sees %d rows, want 1", n)
	}
	if n := count(t, db); n != 0 {
		t.Errorf("others see %d rows, want 0", n)
	}
	must(t, tx.Rollback())
	if n := count(t, db); n != 0 {
		t.Errorf("%d rows after a rollback, want 0", n)
	}
}

func TestOnlyTheUserWithThePasswordIsLetIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, tt := range [][2]string{{"app", "wrong"}, {"app", ""}, {"ann", "secret"}} {
		var refused *mysql.MySQLError
		if err := w.open(tt[0], tt[1], w.withPassword).PingContext(t.Context()); !errors.As(err, &refused) || refused.Number != 1045 {
			t.Errorf("%q: got %v, want 1045", tt, err)
		}
	}
	must(t, w.open("app", "secret", w.withPassword).PingContext(t.Context()))
	must(t, w.open("anybody", "anything", w.engine.ServeConn).PingContext(t.Context()))
}

func TestTheEmptyPasswordIsAPassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, wrap := range []func(net.Conn) net.Conn{func(c net.Conn) net.Conn { return c }, func(c net.Conn) net.Conn { return &sha2Client{Conn: c} }} {
		serve := func(c net.Conn) { w.engine.ServeConnWithPassword(c, "app", "") }
		must(t, w.openWrapped("app", "", serve, wrap).PingContext(t.Context()))
		var refused *mysql.MySQLError
		if err := w.openWrapped("app", "x", serve, wrap).PingContext(t.Context()); !errors.As(err, &refused) || refused.Number != 1045 {
			t.Errorf("got %v, want 1045", err)
		}
	}
}

// sha2Client makes the driver, which does as the greeting says, ask for caching_sha2_password. It counts what the server
// says about the other method after that.
type sha2Client struct {
	net.Conn
	greeted  bool
	switches int
}

func (c *sha2Client) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	native, sha2 := []byte("mysql_native_password"), []byte("caching_sha2_password")
	switch at := bytes.Index(p[:n], native); {
	case at < 0:
	case c.greeted:
		c.switches++
	default:
		c.greeted = true
		copy(p[at:], sha2)
	}
	return n, err
}

func TestCachingSHA2LogsInToo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, tt := range []struct {
		user, password string
		serve          func(net.Conn)
		ok             bool
	}{
		{"app", "secret", w.withPassword, true},
		{"app", "wrong", w.withPassword, false},
		{"app", "", w.withPassword, false},
		{"ann", "secret", w.withPassword, false},
		{"ann", "anything", w.engine.ServeConn, true},
		{"ann", "", w.engine.ServeConn, true},
	} {
		var client *sha2Client
		db := w.openWrapped(tt.user, tt.password, tt.serve, func(c net.Conn) net.Conn {
			client = &sha2Client{Conn: c}
			return client
		})
		var refused *mysql.MySQLError
		if err := db.PingContext(t.Context()); tt.ok != (err == nil) || !tt.ok && (!errors.As(err, &refused) || refused.Number != 1045) {
			t.Errorf("%s with %q: got %v", tt.user, tt.password, err)
		}
		if !client.greeted || client.switches != 0 {
			t.Errorf("%s with %q: greeted %v, %d times another method", tt.user, tt.password, client.greeted, client.switches)
		}
	}
}

func TestFilesCannotBeRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	db := w.open("app", "secret", w.withPassword)
	_, err := db.ExecContext(t.Context(), "CREATE TABLE t (id VARCHAR(99))")
	must(t, err)
	file := filepath.Join(t.TempDir(), "rows")
	must(t, os.WriteFile(file, []byte("one\n"), 0o600))
	if _, err := db.ExecContext(t.Context(), "LOAD DATA INFILE '"+file+"' INTO TABLE t"); err == nil {
		t.Error("LOAD DATA INFILE: no error")
	}
	if n := count(t, db); n != 0 {
		t.Errorf("%d rows were read from a file", n)
	}
	if _, err := db.ExecContext(t.Context(), "SET GLOBAL secure_file_priv = ''"); err == nil {
		t.Error("the folder of files can be changed")
	}
	for _, query := range []string{"SELECT LOAD_FILE('/etc/hostname')", "SELECT LENGTH(LOAD_FILE('/etc/hostname'))", "SELECT 1 INTO OUTFILE '" + t.TempDir() + "/x'"} {
		var got *string
		if err := db.QueryRowContext(t.Context(), query).Scan(&got); err == nil && got != nil {
			t.Errorf("%s: got %q", query, *got)
		} else if err == nil || errors.Is(err, sql.ErrNoRows) {
			t.Errorf("%s: no error", query)
		}
	}
}

func TestCloseEndsConnections(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	db := w.open("app", "secret", w.withPassword)
	conn, err := db.Conn(t.Context())
	must(t, err)
	must(t, w.engine.Close())
	if err := conn.PingContext(t.Context()); err == nil {
		t.Error("the connection is alive")
	}
	if err := db.PingContext(t.Context()); err == nil {
		t.Error("a closed engine serves")
	}
	must(t, w.engine.Close())
}

// reader is the engine's side of a connection that calls then when it has read a query to sleep.
type reader struct {
	net.Conn
	then func()
}

func (r reader) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	if bytes.Contains(p[:n], []byte("SLEEP")) {
		r.then()
	}
	return n, err
}

// The second query has been read, and goes on when Close has ended the first.
func TestCloseEndsQueriesThatHaveHardlyBegun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var clients, read sync.WaitGroup
	firstEnded := make(chan struct{})
	read.Add(2)
	for _, serve := range []func(net.Conn){
		func(c net.Conn) { w.engine.ServeConn(reader{c, read.Done}); close(firstEnded) },
		func(c net.Conn) { w.engine.ServeConn(reader{c, func() { read.Done(); <-firstEnded }}) },
	} {
		conn, err := w.open("app", "", serve).Conn(t.Context())
		must(t, err)
		clients.Go(func() {
			if _, err := conn.ExecContext(t.Context(), "SELECT SLEEP(3600)"); err == nil {
				t.Error("the query was done")
			}
		})
	}
	read.Wait()
	var closing sync.WaitGroup
	for range 2 {
		closing.Go(func() {
			if err := w.engine.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	closing.Wait()
	clients.Wait()
}

func TestGarbageEndsTheConnection(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client, server := net.Pipe()
	w.served.Go(func() { w.withPassword(server) })
	defer client.Close()
	w.served.Go(func() { _, _ = io.Copy(io.Discard, client) })
	_, err := client.Write([]byte("\x05\x00\x00\x01hello"))
	must(t, err)
	w.served.Wait()
}
