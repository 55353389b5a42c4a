//go:build unix

package e2e

import (
	"database/sql"
	"net"
	"syscall"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// idleConns is how many connections lie in the pool: more than the two that
// database/sql tries before it makes a new one.
const idleConns = 3

func TestPoolRecoversWhenTheServerRestarts(t *testing.T) {
	eachEngine(t, func(t *testing.T, e *engine) {
		server := e.ownServer(t)
		t.Run("after failures", func(t *testing.T) {
			db := e.newInstanceOf(t, server, cloudsqltest.Instance{}).open(t, app)
			fill(t, db, idleConns)

			wantNil(t, server.Stop())
			for db.Stats().OpenConnections > 0 {
				if _, err := db.ExecContext(t.Context(), "select 1"); err == nil {
					t.Fatal("a query went well without a server")
				}
			}
			wantNil(t, server.Start(t.Context()))
			wantAnswer(t, db)
		})
		t.Run("unnoticed", func(t *testing.T) {
			i := e.newInstanceOf(t, server, cloudsqltest.Instance{})
			db := i.open(t, app)
			fill(t, db, idleConns)

			wantNil(t, server.Restart(t.Context()))
			i.emulated.Stop() // returns when all connections have ended
			i.emulated.Start()
			i.network.waitHeard(t)
			wantAnswer(t, db)
		})
	})
}

func TestNobodyNoticesThatIdleConnectionsWereCut(t *testing.T) {
	for _, with := range []struct {
		name  string
		reset bool
	}{{"end", false}, {"reset", true}} {
		t.Run(with.name, func(t *testing.T) {
			eachEngine(t, func(t *testing.T, e *engine) {
				i := e.newInstance(t)
				db := i.open(t, app)
				fill(t, db, idleConns)

				if n := i.emulated.CutConnections(with.reset); n != idleConns {
					t.Errorf("cut %d connections, want %d", n, idleConns)
				}
				i.network.waitHeard(t)
				wantAnswer(t, db)
			})
		})
	}
}

func TestPgxPoolDoesNotNoticeThatIdleConnectionsWereCut(t *testing.T) {
	t.Parallel()
	i := postgresEngine.newInstance(t)
	pool := i.openPool(t, app)
	wantNil(t, pool.Ping(t.Context()))

	i.emulated.CutConnections(false)
	i.network.waitHeard(t)
	wantNil(t, pool.Ping(t.Context()))
}

// fill puts n connections into the pool, all of them just used: pgx looks
// after those by itself that were idle for more than a second.
func fill(t *testing.T, db *sql.DB, n int) {
	t.Helper()
	db.SetMaxIdleConns(n)
	for range 2 {
		conns := openConns(t, db, n)
		for _, c := range conns {
			wantAnswer(t, c)
		}
		for _, c := range conns {
			wantNil(t, c.Close())
		}
	}
}

// waitHeard waits until every connection, all of which are idle, has heard
// from the other side: something to read, its end, or a reset.
func (n *network) waitHeard(t *testing.T) {
	t.Helper()
	_, conns := n.dialled()
	for _, c := range conns {
		raw, err := c.(*net.TCPConn).SyscallConn()
		wantNil(t, err)
		wantNil(t, raw.Read(func(fd uintptr) bool {
			_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK)
			return err != syscall.EAGAIN
		}))
	}
}
