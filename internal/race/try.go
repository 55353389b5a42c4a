package race

import (
	"context"
	"errors"
	"net"
	"time"
)

// ErrShareUsed is the cause of a context that has ended to leave time for other
// addresses.
var ErrShareUsed = errors.New("no answer in this address's share of the time")

// Open connects to a host. It should return soon after ctx ends.
type Open func(ctx context.Context, host string) (net.Conn, error)

// Try is an attempt to connect to one host that has ended.
type Try struct {
	Host string
	Nth  int      // of the race's hosts, from 0
	Conn net.Conn // nil if Err is not
	Err  error
	Took time.Duration

	Cut    bool // it was given up for the others, and its caller has time left
	Silent bool // no answer came, and not for want of time
}

// finish says how a step has ended that had ctx.
func (t *Try) finish(ctx context.Context, began time.Time) {
	t.Took += time.Since(began)
	if t.Err == nil && !t.Cut {
		return
	}
	t.Conn = nil
	t.Cut = t.Cut || context.Cause(ctx) == ErrShareUsed
	if t.Cut {
		t.Err = ErrShareUsed
	}
	switch {
	case t.Cut, errors.Is(ctx.Err(), context.DeadlineExceeded), isTimeout(t.Err):
		t.Silent = t.Took >= minSilence
	case ctx.Err() != nil:
		t.Silent = t.Took >= maxStagger
	}
}

// isTimeout reports whether err is a socket's: its deadline, which is taken from
// the context, can be over a moment before that.
func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

func (t Try) close() {
	if t.Conn != nil {
		_ = t.Conn.Close()
	}
}
