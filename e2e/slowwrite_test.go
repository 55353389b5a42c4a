package e2e

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
)

// slowConn is a connection as on a busy machine: a Write goes on for a while
// after the data has left, and the answer has come before that.
type slowConn struct {
	*net.TCPConn
	slow *atomic.Bool
}

func (c slowConn) Write(b []byte) (int, error) {
	n, err := c.TCPConn.Write(b)
	if c.slow.Load() {
		<-time.After(40 * time.Millisecond) // the fault
	}
	return n, err
}

// pgx reads in the background while a Write takes more than 15 ms, and may leave
// a Read waiting. The look at the idle connection waited for that: pools hung
// for ever, this suite for 7 minutes on a busy machine.
func TestPgxPoolDoesNotHangAfterSlowWrites(t *testing.T) {
	eachPostgres(t, func(t *testing.T, e *engine) {
		i := e.newInstance(t).withDatabase(t)
		var slow atomic.Bool
		pool := i.openPool(t, app, cloudsqlconn.WithDialFunc(func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := i.kit.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return slowConn{c.(*net.TCPConn), &slow}, nil
		}))
		wantNil(t, pool.Ping(t.Context()))
		slow.Store(true)
		for range 5 {
			_, err := pool.Exec(t.Context(), "select 1")
			wantNil(t, err)
		}
	})
}
