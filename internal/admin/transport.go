package admin

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/answer"
	"github.com/cloudsqlconn/cloudsqlconn/internal/auth"
)

const (
	// maxReply bounds the body of a reply, which has a few kilobytes.
	maxReply = 1 << 20

	// maxRefusal bounds the body of any other answer: errors hold on to it.
	maxRefusal = 64 << 10

	// maxPage bounds what is read of a web page, for its title.
	maxPage = 16 << 10

	// maxConns bounds the connections of a Client. With HTTP/2 one would do,
	// but until it stands every call dials.
	maxConns = 8

	// After pingAfter of silence a connection is asked for a sign of life, and
	// given up if none comes within pingTimeout. One whose network has gone
	// would otherwise hold up every call for as long as a refresh may take.
	pingAfter   = 10 * time.Second
	pingTimeout = 5 * time.Second
)

// newTransport returns a transport like the default one, and what closes its
// connections.
func newTransport() (rt http.RoundTripper, closeAll func()) {
	base, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return http.DefaultTransport, func() {} // the program's own: with tracing, for example
	}
	t := base.Clone()
	t.MaxConnsPerHost = maxConns
	if t.HTTP2 == nil {
		t.HTTP2 = new(http.HTTP2Config)
	}
	t.HTTP2.SendPingTimeout, t.HTTP2.PingTimeout = pingAfter, pingTimeout
	if t.DialContext == nil { // the program's own: HTTP/2 may depend on that
		return t, t.CloseIdleConnections
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.DialContext = closedWith(ctx, t.DialContext)
	return t, func() {
		t.CloseIdleConnections() // which tells the server
		cancel()
	}
}

// closedWith is dial for connections that are closed at the latest when ctx ends.
// CloseIdleConnections would miss some: of two calls that dial at the same time, over
// HTTP/2 both take the first connection, and the other may stand only later.
func closedWith(ctx context.Context, dial func(context.Context, string, string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return func(dialCtx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(dialCtx, network, addr)
		if err != nil {
			return nil, err
		}
		return &closedConn{conn, context.AfterFunc(ctx, func() { _ = conn.Close() })}, nil
	}
}

type closedConn struct {
	net.Conn
	stop func() bool // of what would close it
}

// Close closes the connection.
func (c *closedConn) Close() error {
	c.stop()
	return c.Conn.Close()
}

// boundedTransport keeps a server from sending bodies without end: reading on
// is an [*http.MaxBytesError]. It also looks at the server's clock.
type boundedTransport struct {
	base   http.RoundTripper
	offset *atomic.Int64 // of the clocks, as the last reply shows it, in nanoseconds
}

// RoundTrip does what base does.
func (t boundedTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.base.RoundTrip(req)
	if err != nil || resp == nil || resp.Body == nil { // net/http takes care of these
		return resp, err
	}
	if offset, ok := auth.ClockOffset(resp.Header, time.Now()); ok {
		t.offset.Store(int64(offset))
	}
	limit := int64(maxReply)
	if resp.StatusCode >= 300 {
		limit = maxRefusal
	}
	resp.Body = http.MaxBytesReader(nil, resp.Body, limit)
	if resp.StatusCode < 300 && strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") {
		resp.Body = withoutPage(resp)
	}
	return resp, nil
}

// body is what r gives, with another Close.
type body struct {
	io.Reader
	io.Closer
}

// withoutPage returns the body of resp; if it is a web page, one that cannot be
// read, for a [*pageError].
func withoutPage(resp *http.Response) io.ReadCloser {
	beginning, err := io.ReadAll(io.LimitReader(resp.Body, maxPage))
	if err == nil && answer.IsPage(beginning) {
		page := &pageError{answer.Summary(resp.StatusCode, resp.Header, beginning)}
		return body{unreadable{page}, resp.Body}
	}
	return body{io.MultiReader(bytes.NewReader(beginning), resp.Body), resp.Body}
}

// unreadable is a reader that fails.
type unreadable struct{ err error }

func (u unreadable) Read([]byte) (int, error) { return 0, u.err }

// bounded returns a copy of client whose replies are bounded, and which stores
// how far this machine's clock is ahead.
func bounded(client *http.Client, offset *atomic.Int64) *http.Client {
	c := *client
	if c.Transport == nil {
		c.Transport = http.DefaultTransport
	}
	c.Transport = boundedTransport{c.Transport, offset}
	return &c
}
