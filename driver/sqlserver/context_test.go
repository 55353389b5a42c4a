package sqlserver_test

import (
	"context"
	"crypto/tls"
	"database/sql"
	"database/sql/driver"
	"errors"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	mssql "github.com/microsoft/go-mssqldb"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/tds"
	"github.com/cloudsqlconn/cloudsqlconn/driver/sqlserver"
)

// lag is what a slow server takes.
type lag struct {
	read, write atomic.Int64  // time.Duration: before a Read, before each 4 KiB of a Write
	met         atomic.Int64  // how often the server was slow
	over        chan struct{} // closed when the test is
}

func (l *lag) wait(of *atomic.Int64) {
	if d := time.Duration(of.Load()); d > 0 {
		l.met.Add(1)
		select {
		case <-time.After(d):
		case <-l.over:
		}
	}
}

// hang makes the server read and answer nothing for longer than anybody waits.
func (l *lag) hang() { l.write.Store(int64(time.Hour)) }

// before returns a handler of connections that are as slow as l.
func (l *lag) before(handle func(net.Conn)) func(net.Conn) {
	return func(c net.Conn) { handle(lagging{c, l}) }
}

type lagging struct {
	net.Conn
	lag *lag
}

func (c lagging) Read(b []byte) (int, error) {
	c.lag.wait(&c.lag.read)
	return c.Conn.Read(b)
}

func (c lagging) Write(b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		c.lag.wait(&c.lag.write)
		var m int
		m, err = c.Conn.Write(b[n:min(n+4<<10, len(b))])
		n += m
	}
	return n, err
}

// raw calls f with a connection of db.
func raw(db *sql.DB, f func(*sqlserver.Conn) error) error {
	conn, err := db.Conn(context.Background())
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Raw(func(c any) error { return f(c.(*sqlserver.Conn)) })
}

func query(ctx context.Context, c *sqlserver.Conn, text string) (driver.Rows, error) {
	s, err := c.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	return s.(driver.StmtQueryContext).QueryContext(ctx, nil)
}

// newSlowCloud is newCloud with a server that offers TLS and becomes slow.
func newSlowCloud(t *testing.T) (*cloud, *lag) {
	t.Helper()
	db := &tds.Server{
		TLS: &tls.Config{Certificates: []tls.Certificate{newCertificate(t, "my-project:my-db")}},
		Handle: func(ctx context.Context, q tds.Query) (tds.Result, error) {
			if q.Text == "waitfor delay '1:0'" {
				<-ctx.Done()
			}
			return tds.Result{}, ctx.Err()
		},
	}
	many := tds.Result{Columns: []tds.Column{{Name: "name"}}}
	for range 200 {
		many.Rows = append(many.Rows, []any{strings.Repeat("x", 2000)})
	}
	db.Answer("select many", many)
	db.Answer("select name", tds.Result{Columns: []tds.Column{{Name: "name"}}, Rows: [][]any{{"mine"}}})
	c, l := newCloud(t, db), &lag{over: make(chan struct{})}
	t.Cleanup(func() { close(l.over) })
	c.trustToo(db.TLS.Certificates[0])
	c.DeleteInstance(c.emulated)
	c.emulated = c.AddInstance(instance, cloudsqltest.Instance{DatabaseVersion: "SQLSERVER_2022_STANDARD", Handler: l.before(db.Serve)})
	return c, l
}

// Without encrypt go-mssqldb takes the TLS that is offered for the login alone.
var slowDSNs = map[string]string{
	"plain text":         plainDSN + "&encrypt=disable",
	"login in TLS":       plainDSN,
	"TLS":                plainDSN + "&encrypt=true",
	"connection timeout": plainDSN + "&connection+timeout=30",
}

// A call on a connection that hung returned 5 s after its context had ended, or
// 10 s: go-mssqldb waits for the server's word that the query is cancelled. The
// starved soak found it.
func TestACallOnAHungConnectionEndsWithItsContext(t *testing.T) {
	t.Parallel()
	begin := func(ctx context.Context, db *sql.DB) *sql.Tx {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			panic(err)
		}
		return tx
	}
	for name, call := range map[string]func(context.Context, *sql.DB, *lag) error{
		"Ping": func(ctx context.Context, db *sql.DB, l *lag) error { l.hang(); return db.PingContext(ctx) },
		"Exec": func(ctx context.Context, db *sql.DB, l *lag) error {
			l.hang()
			_, err := db.ExecContext(ctx, "update t set a = @p1", 1)
			return err
		},
		"Query": func(ctx context.Context, db *sql.DB, l *lag) error {
			l.hang()
			_, err := db.QueryContext(ctx, "select name")
			return err
		},
		"Exec with a long answer": func(ctx context.Context, db *sql.DB, l *lag) error {
			l.write.Store(int64(50 * time.Millisecond)) // 10 s in all
			_, err := db.ExecContext(ctx, "select many")
			return err
		},
		// Through Raw, since database/sql waits for a Mutex, and fake time does not.
		"rows": func(ctx context.Context, db *sql.DB, l *lag) error {
			return raw(db, func(c *sqlserver.Conn) error {
				l.write.Store(int64(50 * time.Millisecond))
				rows, err := query(ctx, c, "select many")
				if err != nil {
					return err
				}
				for err == nil {
					err = rows.Next(make([]driver.Value, 1))
				}
				_ = rows.Close()
				return ctx.Err()
			})
		},
		"rows that are closed": func(ctx context.Context, db *sql.DB, l *lag) error {
			return raw(db, func(c *sqlserver.Conn) error {
				l.write.Store(int64(50 * time.Millisecond))
				rows, err := query(ctx, c, "select many")
				if err != nil {
					return err
				}
				l.hang()
				_ = rows.Close()
				return ctx.Err()
			})
		},
		"prepared": func(ctx context.Context, db *sql.DB, l *lag) error {
			s, err := db.PrepareContext(context.Background(), "select name")
			if err != nil {
				return err
			}
			defer s.Close()
			l.hang()
			_, err = s.ExecContext(ctx)
			return err
		},
		"BeginTx": func(ctx context.Context, db *sql.DB, l *lag) error {
			l.hang()
			_, err := db.BeginTx(ctx, nil)
			return err
		},
		"Commit": func(ctx context.Context, db *sql.DB, l *lag) error {
			tx := begin(ctx, db)
			l.hang()
			return tx.Commit()
		},
		"Exec and Rollback": func(ctx context.Context, db *sql.DB, l *lag) error {
			tx := begin(context.Background(), db)
			l.hang()
			_, err := tx.ExecContext(ctx, "select name")
			_ = tx.Rollback()
			return err
		},
		"bulk copy": func(ctx context.Context, db *sql.DB, l *lag) error {
			tx := begin(context.Background(), db)
			defer func() { _ = tx.Rollback() }()
			s, err := tx.PrepareContext(ctx, mssql.CopyIn("t", mssql.BulkOptions{}, "a"))
			if err != nil {
				return err
			}
			l.hang()
			_, err = s.Exec("one")
			return err
		},
		"Exec that the server does not read": func(ctx context.Context, db *sql.DB, l *lag) error {
			l.read.Store(int64(time.Hour))
			_, err := db.ExecContext(ctx, "update t set a = @p1", make([]byte, 4<<20))
			return err
		},
	} {
		for kind, dsn := range slowDSNs {
			t.Run(name+", "+kind, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					c, l := newSlowCloud(t)
					db := open(t, c.dialer, dsn)
					wantNil(t, db.PingContext(t.Context()))
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					defer cancel()
					start := time.Now()
					err := call(ctx, db, l)
					if d := time.Since(start); d > 1200*time.Millisecond || !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("ended after %v with %v", d, err)
					}
					if l.met.Load() == 0 {
						t.Error("the fault did not happen")
					}
					l.read.Store(0)
					l.write.Store(0)
					wantNil(t, db.PingContext(t.Context())) // over another connection
				})
			})
		}
	}
}

// What must not come of ending calls soon: a new connection for each cancelled
// query.
func TestAConnectionOutlivesQueriesThatAreCancelled(t *testing.T) {
	t.Parallel()
	for kind, dsn := range slowDSNs {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c, l := newSlowCloud(t)
				db := open(t, c.dialer, dsn)
				wantNil(t, db.PingContext(t.Context()))
				l.write.Store(int64(100 * time.Millisecond))
				for range 20 {
					// After a deadline go-mssqldb takes no connection for good.
					ctx, cancel := context.WithCancel(t.Context())
					time.AfterFunc(time.Second, cancel)
					start := time.Now()
					_, err := db.ExecContext(ctx, "waitfor delay '1:0'")
					if d := time.Since(start); d != 1100*time.Millisecond || !errors.Is(err, context.Canceled) {
						t.Errorf("ended after %v with %v", d, err)
					}
				}
				time.Sleep(time.Hour)
				wantNil(t, db.PingContext(t.Context()))
				if all := c.db.Sessions(); len(all) != 1 || all[0].Attentions != 20 {
					t.Errorf("%d logins, the first of which was told to cancel %d queries", len(all), all[0].Attentions)
				}
			})
		})
	}
}

// The context of a call counts until the call is over, and for no other.
func TestAContextThatEndsAfterItsCallIsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, _ := newSlowCloud(t)
		conn, err := open(t, c.dialer, plainDSN).Conn(t.Context())
		wantNil(t, err)
		defer conn.Close()
		ctx, cancel := context.WithCancel(t.Context())
		rows, err := conn.QueryContext(ctx, "select many")
		wantNil(t, err)
		wantNil(t, rows.Close())
		wantNil(t, conn.PingContext(ctx))
		tx, err := conn.BeginTx(t.Context(), nil)
		wantNil(t, err)
		_, err = tx.ExecContext(ctx, "select name")
		wantNil(t, err)
		cancel()
		time.Sleep(time.Second)
		wantNil(t, tx.Commit())
		wantNil(t, conn.Raw(func(raw any) error { return (*mssql.Conn).Ping(raw.(*sqlserver.Conn).Conn, t.Context()) }))
		if n := len(c.db.Sessions()); n != 1 {
			t.Errorf("%d logins", n)
		}
	})
}

// go-mssqldb does not wait for the answer to the ROLLBACK of a transaction whose
// context has ended. It must not be taken for that to the next query.
func TestALateAnswerIsNotTakenForAnother(t *testing.T) {
	t.Parallel()
	for _, late := range []time.Duration{50, 149, 150, 151, 300, 1000} {
		synctest.Test(t, func(t *testing.T) {
			c, l := newSlowCloud(t)
			db := open(t, c.dialer, plainDSN)
			db.SetMaxOpenConns(1)
			ctx, cancel := context.WithCancel(t.Context())
			_, err := db.BeginTx(ctx, nil)
			wantNil(t, err)
			l.write.Store(int64(late * time.Millisecond))
			cancel()
			for range 5 {
				var name string
				ctx, cancel := context.WithTimeout(t.Context(), 120*time.Millisecond)
				if err := db.QueryRowContext(ctx, "select name").Scan(&name); err == nil && name != "mine" {
					t.Errorf("%v: got %q", late, name)
				}
				cancel()
			}
			l.write.Store(0)
			var name string
			wantNil(t, db.QueryRowContext(t.Context(), "select name").Scan(&name))
			if name != "mine" || l.met.Load() == 0 {
				t.Errorf("%v: got %q", late, name)
			}
		})
	}
}

// The parameter of a data source name still counts, where no context does.
func TestTheConnectionTimeoutCounts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, l := newSlowCloud(t)
		db := open(t, c.dialer, slowDSNs["connection timeout"])
		ctx, cancel := context.WithCancel(t.Context())
		wantNil(t, db.PingContext(ctx))
		cancel()
		l.hang()
		start := time.Now()
		_, err := db.Exec("select name")
		if d := time.Since(start); d != 30*time.Second || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("ended after %v with %v", d, err)
		}
	})
}
