package faults_test

import (
	"context"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
)

// network notes what a Dialer does with a world's network.
type network struct {
	w     *world
	delay time.Duration // of each connection

	mu      sync.Mutex // guards everything below
	dialled []string   // hosts
	conns   []*noted
}

// noted is a connection of which it is noted what happens to it.
type noted struct {
	net.Conn
	wrote, closed atomic.Bool
}

func (c *noted) Write(b []byte) (int, error) {
	c.wrote.Store(true)
	return c.Conn.Write(b)
}

func (c *noted) Close() error {
	c.closed.Store(true)
	return c.Conn.Close()
}

func (n *network) option() cloudsqlconn.DialOption { return cloudsqlconn.WithDialFunc(n.dial) }

func (n *network) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	host, _, _ := net.SplitHostPort(addr)
	n.mu.Lock()
	n.dialled = append(n.dialled, host)
	n.mu.Unlock()
	select {
	case <-time.After(n.delay):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	c, err := n.w.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	conn := &noted{Conn: c}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns = append(n.conns, conn)
	return conn, nil
}

// take returns the hosts dialled since the last call.
func (n *network) take() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	defer func() { n.dialled = nil }()
	return n.dialled
}

func (n *network) want(what string, hosts ...string) {
	n.w.t.Helper()
	if got := n.take(); !slices.Equal(got, hosts) {
		n.w.t.Errorf("%s dialled %v, want %v", what, got, hosts)
	}
}
