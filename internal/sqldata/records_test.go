package sqldata

import (
	"context"
	"errors"
	"net"
	"testing"

	"google.golang.org/grpc/credentials"
)

// crypto/tls makes a system call for each record of what it is given to write.
func TestTheRecordsOfAWriteAreWrittenAtOnce(t *testing.T) {
	t.Parallel()
	raw := &countedConn{}
	conn, _, err := gathering{records{n: 1000}}.Clone().ClientHandshake(t.Context(), "", raw)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Write(make([]byte, 32<<10)); n != 32<<10 || err != nil || raw.writes != 2 || raw.bytes != 5+32<<10 {
		t.Errorf("wrote %d, %v: %d bytes in %d writes; want those of the handshake, and all of Write", n, err, raw.bytes, raw.writes)
	}
	raw.err = errors.New("broken")
	if n, err := conn.Write([]byte("x")); n != 0 || !errors.Is(err, raw.err) {
		t.Errorf("wrote %d, %v; want %v", n, err, raw.err)
	}
	raw.err = nil
	if n, err := conn.Write([]byte("x")); n != 1 || err != nil || raw.bytes != 6+32<<10 {
		t.Errorf("wrote %d, %v: %d bytes", n, err, raw.bytes)
	}
}

// Close waited for a Write that the other side did not take: for ever if the
// connection was one that knows no deadlines, as one through an SSH client. The
// end of a connection whose network had gone was never told then.
func TestCloseEndsAWriteThatNobodyTakes(t *testing.T) {
	t.Parallel()
	raw := &stuckConn{writes: make(chan bool, 1), closed: make(chan bool)}
	conn, _, err := gathering{goodbyes{}}.ClientHandshake(t.Context(), "", raw)
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	go func() {
		_, err := conn.Write([]byte("x"))
		failed <- err
	}()
	<-raw.writes
	if err := conn.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := <-failed; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Write: %v", err)
	}
}

// stuckConn is a connection whose other side takes nothing.
type stuckConn struct {
	net.Conn
	writes, closed chan bool
}

func (c *stuckConn) Write([]byte) (int, error) {
	c.writes <- true
	<-c.closed
	return 0, net.ErrClosed
}

func (c *stuckConn) Close() error {
	close(c.closed)
	return nil
}

// goodbyes is a protocol in which Close writes something, as TLS is.
type goodbyes struct {
	credentials.TransportCredentials
}

func (goodbyes) ClientHandshake(_ context.Context, _ string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return goodbyeConn{raw}, nil, nil
}

type goodbyeConn struct{ net.Conn }

func (c goodbyeConn) Close() error {
	_, _ = c.Write([]byte("goodbye"))
	return c.Conn.Close()
}

// countedConn counts what is written to it.
type countedConn struct {
	net.Conn
	writes, bytes int
	err           error
}

func (c *countedConn) Write(b []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	c.writes, c.bytes = c.writes+1, c.bytes+len(b)
	return len(b), nil
}

// records is a protocol with records of n bytes.
type records struct {
	credentials.TransportCredentials
	n int
}

func (r records) Clone() credentials.TransportCredentials { return r }

func (r records) ClientHandshake(_ context.Context, _ string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	_, err := raw.Write([]byte("hello"))
	return recordConn{raw, r.n}, nil, err
}

type recordConn struct {
	net.Conn
	n int
}

func (c recordConn) Write(b []byte) (n int, err error) {
	for len(b) > 0 && err == nil {
		k := min(len(b), c.n)
		_, err = c.Conn.Write(b[:k])
		n, b = n+k, b[k:]
	}
	return n, err
}
