package memnet

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
)

// backlogSize is how many connections wait for Accept before dials wait.
const backlogSize = 128

var errRefused = os.NewSyscallError("connect", syscall.ECONNREFUSED)

// Listener accepts the connections that its DialContext makes. It implements
// [net.Listener]; all its methods may be called at the same time. Its errors
// are *net.OpError.
type Listener struct {
	addr    Addr
	backlog chan *Conn
	dials   atomic.Uint32

	closing sync.Once
	closed  chan struct{}
}

// Listen returns a listener with the address addr, which is "ip:port" and taken
// as it is. Any number of listeners may have the same one.
func Listen(addr string) *Listener {
	return &Listener{
		addr:    Addr(addr),
		backlog: make(chan *Conn, backlogSize),
		closed:  make(chan struct{}),
	}
}

// Accept waits for a connection, which is a *[Conn]. After Close the error wraps
// net.ErrClosed.
func (l *Listener) Accept() (net.Conn, error) {
	if !l.isClosed() {
		select {
		case c := <-l.backlog:
			return c, nil
		case <-l.closed:
		}
	}
	return nil, l.opError("accept", "tcp", net.ErrClosed)
}

// Close unblocks Accept, refuses the dials that wait and resets the connections
// that were never accepted. A second Close returns an error that wraps
// net.ErrClosed.
func (l *Listener) Close() error {
	err := l.opError("close", "tcp", net.ErrClosed)
	l.closing.Do(func() {
		close(l.closed)
		l.resetBacklog()
		err = nil
	})
	return err
}

// Addr returns the address given to [Listen].
func (l *Listener) Addr() net.Addr { return l.addr }

// DialContext connects to the listener whatever the address; the client end,
// a *[Conn], gets a port of its own on 127.0.0.1. It does not wait for Accept
// unless 128 connections already do; then it waits until ctx ends, and its
// error wraps ctx.Err(). After Close the error wraps syscall.ECONNREFUSED.
func (l *Listener) DialContext(ctx context.Context, network, _ string) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, l.opError("dial", network, err)
	}
	if l.isClosed() {
		return nil, l.opError("dial", network, errRefused)
	}
	port := 32768 + l.dials.Add(1)%28232 // the ephemeral ports of Linux
	client, server := Pair(Addr(fmt.Sprintf("127.0.0.1:%d", port)), l.addr)
	select {
	case l.backlog <- server:
	case <-ctx.Done():
		return nil, l.opError("dial", network, ctx.Err())
	case <-l.closed:
		return nil, l.opError("dial", network, errRefused)
	}
	// Close may have emptied the backlog before this connection was in it.
	if l.isClosed() {
		l.resetBacklog()
	}
	return client, nil
}

func (l *Listener) isClosed() bool {
	select {
	case <-l.closed:
		return true
	default:
		return false
	}
}

func (l *Listener) resetBacklog() {
	for {
		select {
		case c := <-l.backlog:
			c.Reset()
		default:
			return
		}
	}
}

func (l *Listener) opError(op, network string, err error) error {
	return &net.OpError{Op: op, Net: network, Addr: l.addr, Err: err}
}
