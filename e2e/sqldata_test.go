package e2e

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// newSQLData returns an instance that is reached through SQL Data, if that serves
// it, with a database of its own.
func (e *engine) newSQLData(t *testing.T, served bool, mode cloudsqlconn.SQLDataMode) *instance {
	t.Helper()
	i := e.newInstanceOf(t, e.sharedServer(t), cloudsqltest.Instance{SQLData: served})
	i.kit.ServeSQLData(cloudsqltest.SQLDataConfig{})
	i.dialer = i.newDialer(t, cloudsqlconn.WithSQLData(mode))
	return i.withDatabase(t)
}

// wantStreams sees that the Admin API was not asked, and streams were used.
func (i *instance) wantStreams(t *testing.T) {
	t.Helper()
	if n := len(i.kit.Requests()); n != 0 {
		t.Errorf("%d calls of the Admin API", n)
	}
	if n := i.emulated.Counts().Streams; n == 0 {
		t.Error("no stream was used")
	}
}

func TestSQLDataQueries(t *testing.T) {
	eachPostgres(t, func(t *testing.T, e *engine) {
		i := e.newSQLData(t, true, cloudsqlconn.SQLDataOnly)
		db := i.open(t, app)
		wantAnswer(t, db)
		if got := value[string](t, db, "select repeat('x', 20000000)"); len(got) != 20_000_000 {
			t.Errorf("%d bytes came", len(got))
		}
		if got := value[int](t, db, "select length($1::text)", strings.Repeat("y", 5_000_000)); got != 5_000_000 {
			t.Errorf("%d bytes arrived", got)
		}
		if got := value[string](t, i.open(t, iam, cloudsqlconn.WithIAMAuthN(true)), e.currentUser); got != cloudsqlconn.FormatIAMUser("POSTGRES", iam.user) {
			t.Errorf("the IAM login is that of %s", got)
		}
		i.wantStreams(t)
	})
}

func TestSQLDataCopies(t *testing.T) {
	eachPostgres(t, func(t *testing.T, e *engine) {
		i := e.newSQLData(t, true, cloudsqlconn.SQLDataOnly)
		conn, err := i.openPool(t, app).Acquire(t.Context())
		wantNil(t, err)
		defer conn.Release()
		_, err = conn.Exec(t.Context(), "create table lines (line text)")
		wantNil(t, err)
		line := strings.Repeat("z", 999) + "\n"
		in := strings.Repeat(line, 20_000)
		tag, err := conn.Conn().PgConn().CopyFrom(t.Context(), strings.NewReader(in), "copy lines from stdin")
		wantNil(t, err)
		var out bytes.Buffer
		_, err = conn.Conn().PgConn().CopyTo(t.Context(), &out, "copy lines to stdout")
		wantNil(t, err)
		if tag.RowsAffected() != 20_000 || out.String() != in {
			t.Errorf("copied %d rows in and %d bytes out, want 20000 and %d", tag.RowsAffected(), out.Len(), len(in))
		}
		i.wantStreams(t)
	})
}

func TestSQLDataNotifies(t *testing.T) {
	eachPostgres(t, func(t *testing.T, e *engine) {
		i := e.newSQLData(t, true, cloudsqlconn.SQLDataOnly)
		pool := i.openPool(t, app)
		listener, err := pool.Acquire(t.Context())
		wantNil(t, err)
		defer listener.Release()
		_, err = listener.Exec(t.Context(), "listen orders")
		wantNil(t, err)
		waited := inBackground(func() error {
			_, err := listener.Conn().WaitForNotification(t.Context())
			return err
		})
		_, err = pool.Exec(t.Context(), "notify orders")
		wantNil(t, err)
		wantNil(t, <-waited)
		// A wait that nothing comes in ends with its context, and the connection is
		// of use after that.
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err = listener.Conn().WaitForNotification(ctx)
		wantError(t, err, context.DeadlineExceeded)
		i.wantStreams(t)
	})
}

// Through Google's connector the query of 6 s goes on, and there is no error.
func TestSQLDataCancelsAQueryAndACopy(t *testing.T) {
	eachPostgres(t, func(t *testing.T, e *engine) {
		i := e.newSQLData(t, true, cloudsqlconn.SQLDataOnly)
		pool, watch := i.openPool(t, app), i.open(t, app)
		for name, wait := range map[string]func(context.Context) error{
			"query": func(ctx context.Context) error {
				_, err := pool.Exec(ctx, i.sleep)
				return err
			},
			"copy": func(ctx context.Context) error {
				return pool.AcquireFunc(ctx, func(c *pgxpool.Conn) error {
					_, err := c.Conn().PgConn().CopyTo(ctx, io.Discard, "copy ("+i.sleep+") to stdout")
					return err
				})
			},
		} {
			t.Run(name, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				ended := inBackground(func() error { return wait(ctx) })
				i.waitSleeping(t, watch, ended)
				cancel()
				wantError(t, <-ended, context.Canceled)
				wantNil(t, pool.Ping(t.Context()))
				i.waitAwake(t, watch)
			})
		}
		i.wantStreams(t)
	})
}

// SQL Data does not serve the instance, and says so after the Dial: nobody
// notices.
func TestSQLDataFallsBackToAnAddress(t *testing.T) {
	eachPostgres(t, func(t *testing.T, e *engine) {
		i := e.newSQLData(t, false, cloudsqlconn.SQLDataPrefer)
		db := i.open(t, app)
		wantAnswer(t, db)
		wantAnswer(t, i.open(t, app))
		if c := i.emulated.Counts(); c.Handshakes != 2 {
			t.Errorf("%d connections by an address, want 2", c.Handshakes)
		}
		_, err := i.dialer.Dial(t.Context(), instanceName, cloudsqlconn.WithSQLData(cloudsqlconn.SQLDataOnly))
		if wantError(t, err, cloudsqlconn.ErrConfig); !strings.Contains(cloudsqlconn.Hint(err), "SQLDataPrefer") {
			t.Errorf("hint %q", cloudsqlconn.Hint(err))
		}
	})
}

// The database ends the connection: the pool connects again.
func TestSQLDataConnectsAgain(t *testing.T) {
	eachPostgres(t, func(t *testing.T, e *engine) {
		i := e.newSQLData(t, true, cloudsqlconn.SQLDataOnly)
		db := i.open(t, app)
		db.SetMaxOpenConns(1)
		id := value[int64](t, db, "select pg_backend_pid()")
		exec(t, i.open(t, app), "select pg_terminate_backend($1)", id)
		c, err := db.Conn(t.Context())
		if err == nil {
			_, err = c.ExecContext(t.Context(), "select 1")
			_ = c.Close()
		}
		if err != nil && !strings.Contains(err.Error(), "57P01") && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("the end is told as %v", err)
		}
		wantAnswer(t, db)
		i.wantStreams(t)
	})
}
