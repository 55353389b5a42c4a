// Package sqldata reaches instances through SQL Data: Google's gRPC service that
// carries the bytes of a database connection in a stream, on the host of the
// Admin API. There is no address, no client certificate and no TLS of the
// instance's own; HTTPS protects the bytes up to Google. A [Client] opens
// streams, and keeps the HTTP/2 connections that they share; a [Conn] is one
// stream.
//
// It knows nothing of names, caches and other ways to an instance.
package sqldata

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata/wire"
)

// Config says how to reach the service, and as whom.
type Config struct {
	Endpoint  Endpoint
	UserAgent string

	// TLS is for the connection to the service; its ServerName and NextProtos
	// are filled in. Nil: the system's roots.
	TLS *tls.Config

	// Credentials returns what authorises a stream. Replace is told of a token that
	// the service has refused, and reports whether there may be a better one. Nil
	// functions: nothing is sent, and nothing is replaced.
	Credentials func(context.Context) (Credentials, error)
	Replace     func(refused string) bool
}

// Credentials authorise a stream.
type Credentials struct {
	Token        string // an access token
	QuotaProject string // that the stream counts for: x-goog-user-project; empty: none
}

// Route is a way to open TCP connections to the service. Streams of one route
// share HTTP/2 connections; those of different routes do not. It is told from
// others by its address.
type Route struct {
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Client opens streams. Its methods are safe for concurrent use. It has no
// goroutine, and no connection, before the first Open.
type Client struct {
	cfg  Config
	calm atomic.Bool // the server has complained about pings

	mu     sync.Mutex // guards everything below, and the links; never held over I/O
	pools  map[*Route]*pool
	closed bool
}

// New returns a client. It does not use the network.
func New(cfg Config) *Client { return &Client{cfg: cfg, pools: map[*Route]*pool{}} }

// ErrClosed is the error of Open after Close.
var ErrClosed = errors.New("sqldata: the client is closed")

// Open opens a stream, and waits for the service's first message, or for its
// refusal, which is a [*StatusError]. A service that says nothing for a second,
// though the connection to it is alive, is waited for no longer: the connection
// is returned, and is not [Conn.Answered]. ctx bounds Open alone.
func (c *Client) Open(ctx context.Context, s wire.Session, r *Route) (*Conn, error) {
	for replaced := false; ; replaced = true {
		header, token, err := c.header(ctx, s)
		if err != nil {
			return nil, err
		}
		conn, err := c.open(ctx, s, header, token, r)
		refused, ok := errors.AsType[*StatusError](err)
		if ok && refused.Code == codes.Unauthenticated && !replaced && c.cfg.Replace != nil && c.cfg.Replace(token) {
			continue
		}
		return conn, err
	}
}

// header returns what is sent in front of a session, and the token in it.
func (c *Client) header(ctx context.Context, s wire.Session) (header metadata.MD, token string, err error) {
	header = metadata.MD{"x-goog-request-params": {s.RoutingHeader()}}
	if c.cfg.Credentials == nil {
		return header, "", nil
	}
	creds, err := c.cfg.Credentials(ctx)
	if err != nil {
		return nil, "", err
	}
	header.Set("authorization", "Bearer "+creds.Token)
	if creds.QuotaProject != "" {
		header.Set("x-goog-user-project", creds.QuotaProject)
	}
	return header, creds.Token, nil
}

// Forget closes the HTTP/2 connections of a route, each after its last stream.
func (c *Client) Forget(r *Route) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.pools[r]; p != nil {
		p.retireLocked()
	}
}

// Close refuses further streams, and closes HTTP/2 connections without any. The
// others are closed after their last stream.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, p := range c.pools {
		p.retireLocked()
	}
}
