package mdx_test

import (
	"io"
	"net"
	"sync"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn/internal/mdx"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/memnet"
)

// theRequest is what a client sends, and how: 12 bytes and the protobuf.
var (
	theRequest = mdx.Request{ClientProtocolType: mdx.TLS}
	onTheWire  = "CSQLMDEX\x00\x00\x00\x02\x10\x02"
)

// client is a connection with an exchange in front of it.
type client struct {
	net.Conn
	exchange *mdx.Exchange

	mu     sync.Mutex
	writes []string // what went out, Write by Write
}

func (c *client) Read(b []byte) (int, error) { return c.exchange.Read(c.Conn, b) }

func (c *client) Write(b []byte) (int, error) { return c.exchange.Write(recorder{c}, b) }

type recorder struct{ c *client }

func (r recorder) Write(b []byte) (int, error) {
	n, err := r.c.Conn.Write(b)
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	r.c.writes = append(r.c.writes, string(b[:n]))
	return n, err
}

// pair returns a client and the server's end.
func pair(t testing.TB) (*client, *memnet.Conn) {
	t.Helper()
	c, s := memnet.Pair(memnet.Addr("client:1"), memnet.Addr("server:3307"))
	t.Cleanup(func() {
		_ = c.Close()
		_ = s.Close()
	})
	return &client{Conn: c, exchange: mdx.New(theRequest)}, s
}

func wantNil(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// send writes all of s.
func send(t testing.TB, w io.Writer, s string) {
	t.Helper()
	n, err := io.WriteString(w, s)
	if n != len(s) || err != nil {
		t.Errorf("Write returned %d, %v; want %d", n, err, len(s))
	}
}

// want reads as many bytes as s has and compares them.
func want(t testing.TB, r io.Reader, s string) {
	t.Helper()
	got := make([]byte, len(s))
	if n, err := io.ReadFull(r, got); err != nil || string(got) != s {
		t.Errorf("read %q, %v; want %q", got[:n], err, s)
	}
}

func answer(r mdx.Response) string { return string(r.Append(nil)) }
