package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/interop/internal/clients"
)

// authProxy is the Auth Proxy, in a process of its own.
type authProxy struct {
	*clients.AuthProxy
	explain sync.Once // the first failure
}

func openAuthProxy(ctx context.Context, w *world) (client, error) {
	target, args := w.target, []string(nil)
	if w.settings.noExpiry {
		target.Credentials = ""
		args = []string{"--token", w.kit.Token(), "--login-token", w.kit.LoginToken()}
	}
	p, err := clients.StartAuthProxy(ctx, target, "", args...)
	if err != nil {
		return nil, err
	}
	return &authProxy{AuthProxy: p}, nil
}

// Connect returns, in place of the first error, what the proxy has written about
// it: the connection just ends.
func (p *authProxy) Connect(ctx context.Context) error {
	conn, err := p.Dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	err = exchange(ctx, conn)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		err = errors.New("no answer, and no end of the connection")
	default:
		p.explain.Do(func() {
			if text := p.waitForFailure(); text != "" {
				err = errors.New(text)
			}
		})
	}
	return err
}

// waitForFailure waits a moment for what the proxy writes about a failure.
func (p *authProxy) waitForFailure() string {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range 200 {
		if text := p.Failure(); text != "" {
			return text
		}
		<-tick.C
	}
	return ""
}

// peerClient is a client in a program in another language.
type peerClient struct {
	peer    *clients.Peer
	request clients.Request
}

// openPeer returns the open of a client that connects with a driver.
func openPeer(driver string) func(context.Context, *world) (client, error) {
	return func(ctx context.Context, w *world) (client, error) {
		r := clients.Request{Connector: w.target.Endpoint, Driver: driver, Resolver: w.resolver, Target: w.target}
		if w.settings.noExpiry {
			r.NoExpiry = w.kit.Token()
		}
		c := peerClient{w.peer, r}
		return c, c.ask(ctx, clients.DoMake)
	}
}

func (c peerClient) ask(ctx context.Context, do clients.Action) error {
	r := c.request
	r.Do = do
	_, err := c.peer.Ask(ctx, r)
	return err
}

// Connect leaves it to the program to give up in time, if its language has a way
// to do that.
func (c peerClient) Connect(ctx context.Context) error {
	deadline, _ := ctx.Deadline()
	limit := time.Until(deadline)
	if c.request.Driver != clients.Bare {
		c.request.Limit = limit.Seconds()
		ctx = context.WithoutCancel(ctx)
	}
	err := c.ask(ctx, clients.DoConnect)
	if errors.Is(err, context.DeadlineExceeded) {
		err = errors.New("no answer, and no error")
	}
	return err
}

func (c peerClient) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return c.ask(ctx, clients.DoClose)
}
