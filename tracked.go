package cloudsqlconn

import (
	"sync/atomic"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/failover"
)

// tracked is what all connections have that Dial returns: they are counted, and
// cut when their DNS name leads to another instance.
type tracked struct {
	connector *connector
	closed    atomic.Bool
	opened    time.Time
	onClose   func()                // nil: nothing
	reason    atomic.Pointer[error] // why it is of no use: the server has refused it, or the Dialer has cut it
}

// track counts the connection c, which leads to n.
func (t *tracked) track(to *connector, c failover.Conn, n Name) {
	t.connector, t.opened = to, time.Now()
	to.open.Add(1)
	if n.domain != "" {
		t.onClose = to.dialer.failover.Opened(c, n.followed())
	}
}

// untrack is told that the connection is closed. It reports false if it was
// before.
func (t *tracked) untrack() bool {
	if t.closed.Swap(true) {
		return false
	}
	t.connector.open.Add(-1)
	t.connector.seen.Closed(time.Since(t.opened))
	if t.onClose != nil {
		t.onClose()
	}
	return true
}

// spoil gives the owner a reason why the connection is of no use any more. It
// reports false if there is one already.
func (t *tracked) spoil(reason error) bool {
	err := error(&Error{Op: OpResolve, Instance: t.connector.String(), Err: reason})
	return t.reason.CompareAndSwap(nil, &err)
}

// explain returns err, or why the connection is of no use.
func (t *tracked) explain(err error) error {
	if err == nil || t.closed.Load() {
		return err
	}
	if reason := t.reason.Load(); reason != nil {
		return *reason
	}
	return err
}
