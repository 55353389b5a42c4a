package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
)

func TestCancelledQueryReturnsAndPoolGoesOn(t *testing.T) {
	eachEngine(t, func(t *testing.T, e *engine) {
		db := e.newInstance(t).withDatabase(t).open(t, app)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ended := inBackground(func() error {
			_, err := db.ExecContext(ctx, e.sleep)
			return err
		})
		id := e.waitSleeping(t, db, ended)
		cancel()
		wantError(t, <-ended, context.Canceled)
		wantAnswer(t, db)

		// pgx has the server stop the query, go-sql-driver only leaves.
		if e.kill != "" {
			exec(t, db, fmt.Sprintf(e.kill, id))
		}
		e.waitAwake(t, db)
	})
}

// noDeadlines is a connection as through an SSH client, which knows none.
type noDeadlines struct{ net.Conn }

var errNoDeadlines = errors.New("deadlines are not supported")

func (noDeadlines) SetDeadline(time.Time) error      { return errNoDeadlines }
func (noDeadlines) SetReadDeadline(time.Time) error  { return errNoDeadlines }
func (noDeadlines) SetWriteDeadline(time.Time) error { return errNoDeadlines }

// pgx ends a query whose context has ended by a deadline in the past: over a
// connection through an SSH client it went on until the server answered.
func TestAQueryIsCancelledOverAConnectionWithoutDeadlines(t *testing.T) {
	eachPostgres(t, func(t *testing.T, e *engine) {
		i := e.newInstance(t).withDatabase(t)
		db := i.open(t, app)
		pool := i.openPool(t, app, cloudsqlconn.WithDialFunc(func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := i.kit.DialContext(ctx, network, addr)
			return noDeadlines{c}, err
		}))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ended := inBackground(func() error {
			_, err := pool.Exec(ctx, e.sleep)
			return err
		})
		e.waitSleeping(t, db, ended)
		cancel()
		wantError(t, <-ended, context.Canceled)
		wantNil(t, pool.Ping(t.Context()))
	})
}

// A server closes the connection that asks it to cancel a query, without a
// word. That says nothing against the client certificate.
func TestCancellingQueriesCostsNoAPICalls(t *testing.T) {
	eachPostgres(t, func(t *testing.T, e *engine) {
		i := e.newInstance(t)
		conn, err := i.openPool(t, app).Acquire(t.Context())
		wantNil(t, err)
		defer conn.Release()
		for range 5 {
			wantNil(t, conn.Conn().PgConn().CancelRequest(t.Context()))
		}
		wantNil(t, i.dialer.Close()) // waits for refreshes
		if got := len(i.kit.Requests()); got != 2 {
			t.Errorf("%d calls of the Admin API, want the 2 of the first refresh", got)
		}
	})
}

// inBackground runs f and sends its error.
func inBackground(f func() error) <-chan error {
	ended := make(chan error, 1)
	go func() { ended <- f() }()
	return ended
}

// waitSleeping waits until the server runs the sleep query, and returns the
// session that does. It fails if the query ends before that.
func (e *engine) waitSleeping(t *testing.T, q queryer, ended <-chan error) int64 {
	t.Helper()
	for {
		select {
		case err := <-ended:
			t.Fatalf("the query ended too early: %v", err)
		default:
		}
		if ids := values[int64](t, q, e.sleepers); len(ids) > 0 {
			return ids[0]
		}
	}
}

// waitAwake waits until the server does not run the sleep query.
func (e *engine) waitAwake(t *testing.T, q queryer) {
	t.Helper()
	for len(values[int64](t, q, e.sleepers)) > 0 {
	}
}
