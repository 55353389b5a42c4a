package auth

import (
	"context"
	"net/http"
)

// ending is a transport whose requests end with a context. Many of x/oauth2's
// have none.
type ending struct {
	ctx  context.Context
	base http.RoundTripper
}

// endingWith returns client, nil for the default one, with such a transport.
func endingWith(ctx context.Context, client *http.Client) *http.Client {
	if client == nil {
		client = http.DefaultClient
	}
	c := *client
	if c.Transport == nil {
		c.Transport = http.DefaultTransport
	}
	c.Transport = ending{ctx, c.Transport}
	return &c
}

// RoundTrip does what base does. The reply's body ends with the context too.
func (e ending) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(req.Context())
	context.AfterFunc(e.ctx, cancel)
	return e.base.RoundTrip(req.WithContext(ctx))
}
