// Package door leads what connects to a listener to connections that it dials:
// it accepts, bounds, joins and drains. It knows nothing of databases.
package door

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"
)

const (
	// grace is how long a client has to end after the server has.
	grace = 2 * time.Second

	// maxRefusals is how many clients may be told at once why they are not
	// connected: each can take its time to listen.
	maxRefusals = 64
)

// Door is a listener's other side. All but MaxConns is required.
type Door struct {
	// Dial connects to the server.
	Dial func(context.Context) (net.Conn, error)

	// Refuse tells a client why it is not connected, in bounded time.
	Refuse func(ctx context.Context, client net.Conn, reason error)

	// Silent is told of a server that has ended its connection, with reason if
	// it is not nil, before it said anything.
	Silent func(ctx context.Context, client, server net.Conn, reason error)

	MaxConns int           // 0: no limit
	Drain    time.Duration // how long connections have to end
	Log      *slog.Logger

	// Describe adds to the record of a failure.
	Describe func(reason error) []slog.Attr

	wg sync.WaitGroup // counts clients

	mu        sync.Mutex        // guards everything below
	conns     map[net.Conn]bool // both sides of each connection
	connected int               // clients that have a place
	refusals  int
	cut       bool // there are to be no connections any more
}

// Serve accepts clients until ctx ends or l is closed, which is its error, and
// waits for them to end. It closes l.
func (d *Door) Serve(ctx context.Context, l net.Listener) error {
	d.conns = map[net.Conn]bool{}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	err := d.accept(ctx, l)
	_ = l.Close()
	cancel() // dials in progress end
	d.drain()
	return err
}

// accept takes clients until ctx ends or l is closed. Whatever else goes wrong
// may pass: there are no file descriptors or no memory for a while, or a client
// has hung up.
func (d *Door) accept(ctx context.Context, l net.Listener) error {
	const firstPause, maxPause = 5 * time.Millisecond, time.Second
	for pause := firstPause; ; {
		c, err := l.Accept()
		switch {
		case err == nil:
			pause = firstPause
			d.wg.Go(func() { d.connect(ctx, c) })
			continue
		case ctx.Err() != nil:
			return nil //nolint:nilerr // l was closed because ctx has ended
		case errors.Is(err, net.ErrClosed):
			return err
		case pause == firstPause:
			d.Log.LogAttrs(ctx, slog.LevelWarn, "accepting fails, trying again", slog.String("error", err.Error()))
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		pause = min(2*pause, maxPause)
	}
}

// drain waits for the clients to end, and cuts those that take too long.
func (d *Door) drain() {
	ctx := context.Background()
	d.mu.Lock()
	n := d.connected
	d.mu.Unlock()
	if n > 0 && d.Drain > 0 {
		d.Log.LogAttrs(ctx, slog.LevelInfo, "waiting for connections to end", slog.Int("connections", n), slog.Duration("at_most", d.Drain))
	}
	timer := time.AfterFunc(d.Drain, func() {
		if n := d.cutAll(); n > 0 {
			d.Log.LogAttrs(ctx, slog.LevelWarn, "connections are cut", slog.Int("connections", n))
		}
	})
	defer timer.Stop()
	d.wg.Wait()
}

// connect connects a client, or tells it why not.
func (d *Door) connect(ctx context.Context, client net.Conn) {
	if !d.keep(client) {
		d.drop(client)
		return
	}
	server, err := d.reach(ctx)
	if err != nil {
		d.refuse(ctx, client, err)
		d.drop(client)
		return
	}
	if !d.keep(server) {
		d.drop(server)
		d.leave()
		d.drop(client)
		return
	}
	d.Log.LogAttrs(ctx, slog.LevelInfo, "client connected", clientAttr(client))
	d.join(ctx, client, server)
}

// reach takes a place for a client, and connects to the server.
func (d *Door) reach(ctx context.Context) (net.Conn, error) {
	if err := d.take(); err != nil {
		return nil, err
	}
	server, err := d.Dial(ctx)
	if err != nil {
		d.leave()
	}
	return server, err
}

// take takes a place for a client.
func (d *Door) take() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.MaxConns > 0 && d.connected >= d.MaxConns {
		return fmt.Errorf("limit of %s reached", count(d.MaxConns, "connection"))
	}
	d.connected++
	return nil
}

func (d *Door) leave() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.connected--
}

// refuse tells a client why it is not connected, unless many are being told.
func (d *Door) refuse(ctx context.Context, client net.Conn, reason error) {
	if ctx.Err() == nil {
		attrs := []slog.Attr{clientAttr(client), slog.String("error", reason.Error())}
		d.Log.LogAttrs(ctx, slog.LevelWarn, "client not connected", append(attrs, d.Describe(reason)...)...)
	}
	d.mu.Lock()
	tell := d.refusals < maxRefusals
	if tell {
		d.refusals++
	}
	d.mu.Unlock()
	if !tell {
		return
	}
	d.Refuse(ctx, client, reason)
	d.mu.Lock()
	d.refusals--
	d.mu.Unlock()
}

// keep remembers c, unless all connections are to be cut.
func (d *Door) keep(c net.Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.cut {
		d.conns[c] = true
	}
	return !d.cut
}

func (d *Door) drop(c net.Conn) {
	d.mu.Lock()
	delete(d.conns, c)
	d.mu.Unlock()
	_ = c.Close()
}

// cutAll closes all connections at the same time, since one may take its time,
// and returns how many clients were connected.
func (d *Door) cutAll() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cut = true
	for c := range d.conns { // who has put it there waits for the lock, and counts until then
		d.wg.Go(func() { _ = c.Close() })
	}
	return d.connected
}

// clientAttr is what all records of a client have.
func clientAttr(c net.Conn) slog.Attr { return slog.String("client", c.RemoteAddr().String()) }

// count is n things.
func count(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}
