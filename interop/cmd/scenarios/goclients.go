package main

import (
	"context"
	"fmt"
	"net"
	"time"

	google "cloud.google.com/go/cloudsqlconn"
	"golang.org/x/oauth2"

	ours "github.com/cloudsqlconn/cloudsqlconn"
)

// goClient is a Dialer.
type goClient struct {
	instance string
	dial     func(ctx context.Context, instance string) (net.Conn, error)
	close    func() error
}

func (c goClient) Connect(ctx context.Context) error {
	conn, err := c.dial(ctx, c.instance)
	if err != nil {
		return err
	}
	defer conn.Close()
	return exchange(ctx, conn)
}

func (c goClient) Close() error { return c.close() }

// exchange has the instance answer on a connection.
func exchange(ctx context.Context, conn net.Conn) error {
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	if _, err := conn.Write([]byte{'?'}); err != nil {
		return err
	}
	var instance string
	_, err := fmt.Fscanln(conn, &instance)
	return err
}

// tokens are the tokens for the API and for logins.
func (w *world) tokens() (api, login oauth2.TokenSource) {
	var expiry time.Time
	if !w.settings.noExpiry {
		expiry = time.Now().Add(time.Hour)
	}
	source := func(text string) oauth2.TokenSource {
		return oauth2.StaticTokenSource(&oauth2.Token{AccessToken: text, Expiry: expiry})
	}
	return source(w.kit.Token()), source(w.kit.LoginToken())
}

func openOurs(ctx context.Context, w *world) (client, error) {
	api, login := w.tokens()
	opts := []ours.Option{ours.WithAdminAPIEndpoint(w.kit.URL())}
	if w.settings.iam {
		opts = append(opts, ours.WithIAMAuthN(true), ours.WithIAMAuthNTokenSources(api, login))
	} else {
		opts = append(opts, ours.WithTokenSource(api))
	}
	if w.settings.lazy {
		opts = append(opts, ours.WithLazyRefresh())
	}
	if w.settings.psc {
		opts = append(opts, ours.WithPSC(), ours.WithDialFunc(w.dial))
	}
	if w.settings.dns {
		opts = append(opts, ours.WithDNSResolver(net.DefaultResolver))
	}
	d, err := ours.NewDialer(ctx, opts...)
	if err != nil {
		return nil, err
	}
	dial := func(ctx context.Context, instance string) (net.Conn, error) { return d.Dial(ctx, instance) }
	return goClient{w.name, dial, d.Close}, nil
}

func openGoogle(ctx context.Context, w *world) (client, error) {
	api, login := w.tokens()
	opts := []google.Option{
		google.WithAdminAPIEndpoint(w.kit.URL()),
		google.WithBuiltInMetrics(false), // they would go to Google
	}
	if w.settings.iam {
		opts = append(opts, google.WithIAMAuthN(), google.WithIAMAuthNTokenSources(api, login))
	} else {
		opts = append(opts, google.WithTokenSource(api))
	}
	if w.settings.lazy {
		opts = append(opts, google.WithLazyRefresh())
	}
	if w.settings.psc {
		opts = append(opts, google.WithDefaultDialOptions(google.WithPSC()), google.WithDialFunc(w.dial))
	}
	if w.settings.dns {
		opts = append(opts, google.WithDNSResolver())
	}
	d, err := google.NewDialer(ctx, opts...)
	if err != nil {
		return nil, err
	}
	dial := func(ctx context.Context, instance string) (net.Conn, error) { return d.Dial(ctx, instance) }
	return goClient{w.name, dial, d.Close}, nil
}
