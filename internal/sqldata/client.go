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

	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata/wire"
)

// Config says how to reach the service, and as whom.
type Config struct {
	Endpoint     Endpoint
	UserAgent    string
	QuotaProject string // x-goog-user-project; empty: none

	// TLS is for the connection to the service; its ServerName and NextProtos
	// are filled in. Nil: the system's roots.
	TLS *tls.Config

	// Token returns the access token that authorises a stream. Replace is told
	// of one that the service has refused, and reports whether there may be a
	// better one. Nil functions: no token is sent, and none is replaced.
	Token   func(context.Context) (string, error)
	Replace func(refused string) bool
}

// Route is a way to open TCP connections to the service. Streams of one route
// share HTTP/2 connections; those of different routes do not. It is told from
// others by its address.
type Route struct {
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Client opens streams. Its methods are safe for concurrent use. It has no
// goroutine, and no connection, before the first Open.
type Client struct{ cfg Config }

// New returns a client. It does not use the network.
func New(cfg Config) *Client { return &Client{cfg: cfg} }

// Open opens a stream, and waits for the service's first message, or for its
// refusal, which is a [*StatusError]. A service that says nothing for a second,
// though the connection to it is alive, is waited for no longer: the connection
// is returned, and not [Conn.Answered]. ctx bounds Open alone.
func (c *Client) Open(ctx context.Context, s wire.Session, r *Route) (*Conn, error) {
	return nil, errors.New("not there yet")
}

// Close refuses further streams, and closes connections without any. The others
// are closed after their last stream.
func (c *Client) Close() {}
