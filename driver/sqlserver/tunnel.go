package sqlserver

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// confirmTimeout is how long a call goes on once its context has ended. A server
// confirms that a query is cancelled in a round trip and little more, and the
// connection can be used again then. A server that hangs costs the caller this,
// and the connection; go-mssqldb alone waits 5 s, twice.
const confirmTimeout = 150 * time.Millisecond

// tunnel is the connection that go-mssqldb runs over. It ends what a call waits
// for soon after the call's context.
type tunnel struct {
	net.Conn

	// lost says that a deadline has come, so that the two sides are out of step.
	lost atomic.Bool

	mu   sync.Mutex // guards everything below
	call int        // the one whose context counts
	end  time.Time  // of that call; zero: its context has not ended
}

// watch has all Reads and Writes fail that go on for confirmTimeout after the
// end of ctx, until release is called.
func (t *tunnel) watch(ctx context.Context) (release func()) {
	if ctx.Done() == nil {
		return func() {}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.call++
	call := t.call
	stop := context.AfterFunc(ctx, func() { t.bound(call) })
	return func() {
		if !stop() {
			t.unbound(call)
		}
	}
}

func (t *tunnel) bound(call int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.call == call {
		t.end = time.Now().Add(confirmTimeout)
		_ = t.Conn.SetDeadline(t.end) // fails for a closed connection alone
	}
}

func (t *tunnel) unbound(call int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.call == call {
		t.call++ // for bound, which may be under way
		t.end = time.Time{}
		_ = t.Conn.SetDeadline(t.end) // go-mssqldb sets its own before each Read and Write
	}
}

// SetDeadline is for the connection timeout of a data source name.
func (t *tunnel) SetDeadline(d time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.end.IsZero() && (d.IsZero() || d.After(t.end)) {
		d = t.end
	}
	return t.Conn.SetDeadline(d)
}

func (t *tunnel) Read(b []byte) (int, error)  { return t.do(t.Conn.Read, b) }
func (t *tunnel) Write(b []byte) (int, error) { return t.do(t.Conn.Write, b) }

// do makes nothing follow a deadline: the answer to another query could be taken
// for that to the next one.
func (t *tunnel) do(f func([]byte) (int, error), b []byte) (int, error) {
	if t.lost.Load() {
		return 0, os.ErrDeadlineExceeded
	}
	n, err := f(b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.lost.Store(true)
	}
	return n, err
}

// Close does not say goodbye to a server that hangs: it could wait for that.
func (t *tunnel) Close() error {
	if c, ok := t.Conn.(interface{ NetConn() net.Conn }); ok && t.lost.Load() {
		_ = c.NetConn().Close()
	}
	return t.Conn.Close()
}
