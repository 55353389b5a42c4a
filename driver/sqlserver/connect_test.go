package sqlserver_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	mssql "github.com/microsoft/go-mssqldb"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/tds"
	"github.com/cloudsqlconn/cloudsqlconn/driver/sqlserver"
)

func TestQueriesTransactionsAndErrorsPass(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCloud(t, &tds.Server{
			Users: map[string]string{"app": "secret"},
			Handle: func(ctx context.Context, q tds.Query) (tds.Result, error) {
				switch q.Text {
				case "insert into t values (@p1)":
					return tds.Result{RowsAffected: 1}, nil
				case "waitfor delay '1:0'":
					<-ctx.Done()
					return tds.Result{}, ctx.Err()
				}
				return tds.Result{}, &tds.Error{Number: 208, Message: "Invalid object name."}
			},
		})
		c.db.Answer("select name from t", tds.Result{Columns: []tds.Column{{Name: "name"}}, Rows: [][]any{{"one"}, {nil}}})
		db := open(t, c.dialer, plainDSN)

		tx, err := db.BeginTx(t.Context(), nil)
		wantNil(t, err)
		_, err = tx.ExecContext(t.Context(), "insert into t values (@p1)", "ü")
		wantNil(t, err)
		wantNil(t, tx.Commit())

		rows, err := db.QueryContext(t.Context(), "select name from t")
		wantNil(t, err)
		var names []sql.NullString
		for rows.Next() {
			var n sql.NullString
			wantNil(t, rows.Scan(&n))
			names = append(names, n)
		}
		wantNil(t, rows.Err())
		if len(names) != 2 || names[0].String != "one" || names[1].Valid {
			t.Errorf("got %v", names)
		}

		var e mssql.Error
		if _, err := db.ExecContext(t.Context(), "select * from nowhere"); !errors.As(err, &e) || e.Number != 208 {
			t.Errorf("got %v, want error 208", err)
		}

		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if _, err := db.ExecContext(ctx, "waitfor delay '1:0'"); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", err)
		}
		wantNil(t, db.PingContext(t.Context()))

		all := c.db.Sessions()
		if len(all) != 1 || all[0].Begun != 1 || all[0].Committed != 1 || all[0].Attentions != 1 {
			t.Errorf("got %+v", all)
		}
	})
}

func TestNoHostIsLookedUp(t *testing.T) {
	t.Parallel()
	for _, host := range []string{"db.invalid", "db.invalid/SQLEXPRESS", "db.invalid:1", "mssql.example.com"} {
		c := newCloud(t, &tds.Server{})
		before := lookups.Load()
		wantNil(t, open(t, c.dialer, "sqlserver://"+host+"?cloudsql="+instance).PingContext(t.Context()))
		if n := lookups.Load() - before; n != 0 {
			t.Errorf("%s: %d look-ups", host, n)
		}
	}
	if _, err := net.LookupHost("db.invalid"); err == nil || lookups.Load() == 0 {
		t.Error("this test does not see look-ups")
	}
}

// F21
func TestAPingEndsWithItsContext(t *testing.T) {
	t.Parallel()
	for name, arrange := range map[string]func(*cloud){
		"the instance is silent": func(c *cloud) { c.emulated.SetBehavior(cloudsqltest.Silent) },
		"the server is silent": func(c *cloud) {
			c.DeleteInstance(c.emulated)
			c.emulated = c.AddInstance(instance, cloudsqltest.Instance{
				DatabaseVersion: "SQLSERVER_2022_STANDARD",
				Handler:         func(c net.Conn) { _, _ = io.Copy(io.Discard, c) },
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newCloud(t, &tds.Server{})
				arrange(c)
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				defer cancel()
				start := time.Now()
				err := open(t, c.dialer, plainDSN).PingContext(ctx)
				if d := time.Since(start); d > 400*time.Millisecond || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("PingContext ended after %v with %v", d, err)
				}
				if c.emulated.Accepted() == 0 {
					t.Error("the fault did not happen")
				}
			})
		})
	}
}

func TestAnInstanceOfAnotherEngineHearsNothing(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"MYSQL_8_4", "POSTGRES_17"} {
		synctest.Test(t, func(t *testing.T) {
			s := cloudsqltest.NewMemoryServer()
			defer s.Close()
			var heard int64
			s.AddInstance(instance, cloudsqltest.Instance{DatabaseVersion: version, Handler: func(c net.Conn) {
				heard, _ = io.Copy(io.Discard, c)
			}})
			err := open(t, newDialer(t, s.Options()...), plainDSN).PingContext(t.Context())
			if !errors.Is(err, cloudsqlconn.ErrConfig) || !strings.Contains(err.Error(), version) {
				t.Errorf("%s: got %v", version, err)
			}
			synctest.Wait()
			if heard != 0 {
				t.Errorf("%s: the instance heard %d bytes", version, heard)
			}
		})
	}
}

func TestAnInstanceOfAnUnknownEngineIsTried(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCloud(t, &tds.Server{})
		c.alterSettings(func(settings map[string]any) { delete(settings, "databaseVersion") })
		wantNil(t, open(t, c.dialer, plainDSN).PingContext(t.Context()))
		if v, err := c.dialer.EngineVersion(t.Context(), instance); v != "" || err != nil {
			t.Errorf("the engine is %q, %v", v, err)
		}
	})
}

func TestDialErrorsKeepTheirCause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCloud(t, &tds.Server{})
		for _, host := range []string{"localhost", "192.0.2.7"} {
			err := open(t, c.dialer, "sqlserver://"+host+"?cloudsql=my-project:europe-west1:other").PingContext(t.Context())
			var e *cloudsqlconn.Error
			if !errors.Is(err, cloudsqlconn.ErrNotFound) || !errors.As(err, &e) || e.Instance != "my-project:europe-west1:other" {
				t.Errorf("%s: got %v, want ErrNotFound", host, err)
			}
		}
	})
}

// The first Read of a connection shows that the certificate is refused.
// database/sql connects again then, and gets a new one.
func TestARotatedClientCAIsSurvived(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCloud(t, &tds.Server{})
		db := open(t, c.dialer, plainDSN)
		db.SetMaxIdleConns(-1)
		wantNil(t, db.PingContext(t.Context()))
		c.emulated.RotateClientCA()
		wantNil(t, db.PingContext(t.Context()))
		if n := c.emulated.Counts().Rejected; n == 0 {
			t.Error("the fault did not happen")
		}
	})
}

// A redirection cannot be followed, and must not lead in circles.
func TestAServerThatSendsItsClientAwayIsAnError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := cloudsqltest.NewMemoryServer()
		defer s.Close()
		p := s.AddInstance(instance, cloudsqltest.Instance{DatabaseVersion: "SQLSERVER_2022_STANDARD", Handler: func(c net.Conn) {
			answer := func(b []byte) { _, _ = c.Write(append([]byte{4, 1, 0, byte(8 + len(b)), 0, 0, 1, 0}, b...)) }
			b := make([]byte, 4096)
			_, _ = c.Read(b) // PRELOGIN
			answer([]byte{1, 0, 6, 0, 1, 0xff, 2})
			_, _ = c.Read(b) // LOGIN7
			route := []byte{0xe3, 12, 0, 20, 7, 0, 0, 0x99, 5, 1, 0, 'x', 0, 0, 0}
			ack := []byte{0xad, 10, 0, 1, 0x74, 0, 0, 4, 0, 16, 0, 0, 0}
			done := []byte{0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
			answer(append(append(route, ack...), done...))
			_, _ = io.Copy(io.Discard, c)
		}})
		err := open(t, newDialer(t, s.Options()...), plainDSN).PingContext(t.Context())
		if err == nil || !strings.Contains(err.Error(), `"x:1433"`) {
			t.Errorf("got %v", err)
		}
		if n := p.Accepted(); n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}

func TestClosingThePoolLeavesTheDialerOpen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCloud(t, &tds.Server{})
		for range 3 {
			db := open(t, c.dialer, plainDSN)
			wantNil(t, db.PingContext(t.Context()))
			wantNil(t, db.Close())
		}
		synctest.Wait()
		for i, s := range c.db.Sessions() {
			if !s.Ended {
				t.Errorf("session %d goes on", i)
			}
		}
	})
}

func TestRegisterDriver(t *testing.T) {
	t.Parallel()
	c := newCloud(t, &tds.Server{Users: map[string]string{"app": "secret"}})
	name := "cloudsql-" + rand.Text() // the name stays taken: -count=2 needs another
	cleanup, err := sqlserver.RegisterDriver(name, c.Options()...)
	wantNil(t, err)
	for _, taken := range []string{name, "sqlserver"} {
		nothing, err := sqlserver.RegisterDriver(taken)
		if !errors.Is(err, cloudsqlconn.ErrConfig) || !strings.Contains(err.Error(), "choose another name") || cloudsqlconn.Hint(err) == "" || nothing() != nil {
			t.Errorf("taken name: got %v", err)
		}
	}
	if nothing, err := sqlserver.RegisterDriver(name+"-other", nil); !errors.Is(err, cloudsqlconn.ErrConfig) || nothing() != nil {
		t.Errorf("bad option: got %v, want ErrConfig", err)
	}
	if _, err := sql.Open(name, "server=localhost"); !errors.Is(err, cloudsqlconn.ErrBadName) {
		t.Errorf("bad data source name: got %v, want ErrBadName", err)
	}
	db, err := sql.Open(name, plainDSN)
	wantNil(t, err)
	defer db.Close()
	wantNil(t, db.PingContext(t.Context()))
	db.SetMaxIdleConns(-1)
	wantNil(t, cleanup())
	if err := db.PingContext(t.Context()); !errors.Is(err, cloudsqlconn.ErrDialerClosed) {
		t.Errorf("after cleanup: got %v, want ErrDialerClosed", err)
	}
}
