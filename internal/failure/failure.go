// Package failure has what errors are found by and put together with: the
// sentinels and the names of the steps, which the root package shows to the world,
// and the ends of contexts. It knows nothing of what fails.
package failure

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// What errors.Is finds. The root package describes them.
var (
	ErrDialerClosed = errors.New("dialer is closed")
	ErrBadName      = errors.New("bad instance name")
	ErrNotFound     = errors.New("instance not found")
	ErrPermission   = errors.New("not permitted")
	ErrNoAddress    = errors.New("no such address")
	ErrUnverified   = errors.New("server not verified")
	ErrConfig       = errors.New("bad configuration")
)

// The steps of a Dial, and of a login.
const (
	OpConfig    = "configure"
	OpResolve   = "resolve"
	OpRefresh   = "refresh"
	OpDial      = "dial"
	OpHandshake = "handshake"
	OpStream    = "stream"
	OpLogin     = "login"
)

// ErrDialTimeout is the cause of a context that the dial timeout has ended.
var ErrDialTimeout = fmt.Errorf("the dial timeout has expired: %w", context.DeadlineExceeded)

// marked is a cause that errors.Is also finds under a sentinel.
type marked struct {
	sentinel error
	error
}

// Mark returns err, which errors.Is also finds under a sentinel. Its text stays
// the same.
func Mark(sentinel, err error) error { return &marked{sentinel, err} }

func (e *marked) Is(target error) bool { return target == e.sentinel }
func (e *marked) Unwrap() error        { return e.error }

// Lines is like errors.Join, in one line.
type Lines []error

func (e Lines) Error() string {
	texts := make([]string, len(e))
	for i, err := range e {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

// Unwrap returns all of them.
func (e Lines) Unwrap() []error { return e }

// Over reports whether ctx has ended. A socket's deadline, taken from ctx, can
// fire a moment before ctx itself.
func Over(ctx context.Context) bool {
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		<-ctx.Done()
	}
	return ctx.Err() != nil
}

// Ended returns err, with the reason why ctx ended if it has.
func Ended(ctx context.Context, err error) error {
	if !Over(ctx) || errors.Is(err, context.Cause(ctx)) {
		return err
	}
	return Lines{context.Cause(ctx), err}
}

// IsAlert reports whether err is a TLS alert that the other side sent.
func IsAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error" // how crypto/tls marks them
}
