package mysqlmemory

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"net"
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
	cfg := mysql.NewConfig()
	cfg.Net, cfg.Addr, cfg.User, cfg.Passwd, cfg.DBName, cfg.ParseTime = "pipe", "engine", user, password, "app", true
	cfg.DialFunc = func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		w.served.Go(func() { serve(server) })
		return client, nil
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

func TestFilesCannotBeRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	db := w.open("app", "secret", w.withPassword)
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
