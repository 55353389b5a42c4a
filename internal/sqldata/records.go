package sqldata

import (
	"context"
	"net"
	"sync"

	"google.golang.org/grpc/credentials"
)

// gathering is TLS whose connections pass each Write on in one piece. crypto/tls
// makes a system call for each of its records, which have 16 KiB at most: half of
// what gRPC writes at a time, and much less on a new connection.
type gathering struct {
	credentials.TransportCredentials
}

func (g gathering) Clone() credentials.TransportCredentials {
	return gathering{g.TransportCredentials.Clone()}
}

func (g gathering) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	gathered := &gatheredConn{Conn: raw}
	conn, info, err := g.TransportCredentials.ClientHandshake(ctx, authority, gathered)
	if err != nil {
		return nil, nil, err
	}
	return &gatheringConn{conn, gathered}, info, nil
}

// gatheringConn is a TLS connection over a gatheredConn.
type gatheringConn struct {
	net.Conn
	raw *gatheredConn
}

func (c *gatheringConn) Write(b []byte) (int, error) {
	c.raw.gather()
	n, err := c.Conn.Write(b)
	if flushed := c.raw.flush(); flushed != nil {
		return 0, flushed
	}
	return n, err
}

// Close closes the connection. TLS says goodbye, for which it would have to wait
// for a Write: for five seconds, or without an end if deadlines are not known.
func (c *gatheringConn) Close() error {
	if !c.raw.mu.TryLock() {
		return c.raw.Close()
	}
	c.raw.mu.Unlock()
	return c.Conn.Close()
}

// gatheredConn keeps what is written to it between gather and flush.
type gatheredConn struct {
	net.Conn

	mu     sync.Mutex // guards everything below; held while Conn writes, for the order
	buffer *[]byte    // nil: nothing is kept
}

// buffers are for what a Write of gRPC's becomes. They are not kept by idle
// connections.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

func (c *gatheredConn) gather() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.buffer = buffers.Get().(*[]byte)
}

func (c *gatheredConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.buffer == nil {
		return c.Conn.Write(b)
	}
	*c.buffer = append(*c.buffer, b...)
	return len(b), nil
}

func (c *gatheredConn) flush() (err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(*c.buffer) > 0 {
		_, err = c.Conn.Write(*c.buffer)
	}
	*c.buffer = (*c.buffer)[:0]
	buffers.Put(c.buffer)
	c.buffer = nil
	return err
}
