package sqldata

import (
	"context"
	"crypto/tls"
	"math/rand/v2"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata/wire"
)

const (
	// maxStreams is how many streams a link carries. Google's front end takes
	// 100, and advises 10 to 50.
	maxStreams = 50

	// A link takes no more streams after lifetime, and up to a tenth of it: the
	// front end ends connections after about an hour.
	lifetime = 45 * time.Minute

	// A link without streams is closed after idleTime.
	idleTime = 5 * time.Minute

	// After pingAfter of silence a link with streams is asked for a sign of life,
	// and given up if none comes within pingTimeout. Google's connector for Node
	// does the same. Where the server ends connections for that, it is as seldom
	// as servers of gRPC allow by default.
	pingAfter     = 30 * time.Second
	calmPingAfter = 330 * time.Second
	pingTimeout   = 10 * time.Second

	// connectTimeout is how long a link may take to connect.
	connectTimeout = 20 * time.Second

	// maxMessage is the size of the largest message that is taken from the service:
	// that of Google's connector for Go.
	maxMessage = 100 << 20
)

// pool is the links of one route that take streams.
type pool struct {
	route *Route
	terse atomic.Bool // the service says nothing first: silence tells nothing about a link

	// guarded by Client.mu
	links []*link
	most  int       // streams on one of them
	until time.Time // the server counts as allowing fewer than maxStreams
}

// link is an HTTP/2 connection, and those that take its place.
type link struct {
	client *Client
	pool   *pool
	cc     *grpc.ClientConn
	heard  atomic.Int64 // reads that have brought something

	// guarded by Client.mu
	streams int // places that are taken
	open    int // those of them that have a stream
	born    time.Time
	until   time.Time // takes no streams after that
	retired bool      // takes no more streams
	idle    *time.Timer
}

// take returns a link with a place for a stream, which is given back. Beside an
// try it is another link, made since: older ones may be as dead.
func (c *Client) take(r *Route, beside *try) (*link, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	p := c.pools[r]
	if p == nil {
		p = &pool{route: r}
	}
	if time.Now().After(p.until) {
		p.most = maxStreams
	}
	var (
		taken *link
		free  int
	)
	for _, l := range slices.Clone(p.links) {
		switch {
		case time.Now().After(l.until):
			l.retireLocked()
		case l.streams >= p.most:
		case taken == nil && (beside == nil || l != beside.link && l.born.After(beside.began)):
			taken = l
			free += p.most - l.streams - 1
		default:
			free += p.most - l.streams
		}
	}
	if taken == nil {
		l, err := c.newLinkLocked(p)
		if err != nil {
			return nil, err
		}
		taken = l
		free += p.most - 1
	}
	taken.streams++
	taken.idle.Stop()
	if free <= p.most/8 { // so that the next ones need not wait
		if l, err := c.newLinkLocked(p); err == nil {
			l.idle.Reset(idleTime)
			l.cc.Connect()
		}
	}
	return taken, nil
}

func (c *Client) newLinkLocked(p *pool) (*link, error) {
	now := time.Now()
	l := &link{client: c, pool: p, born: now, until: now.Add(lifetime + rand.N(lifetime/10))}
	creds := insecure.NewCredentials()
	if e := c.cfg.Endpoint; !e.Plaintext {
		config := &tls.Config{}
		if c.cfg.TLS != nil {
			config = c.cfg.TLS.Clone()
		}
		config.ServerName, config.NextProtos = e.Host, nil // gRPC sets these
		creds = gathering{credentials.NewTLS(config)}
	}
	ping := keepalive.ClientParameters{Time: pingAfter, Timeout: pingTimeout}
	if c.calm.Load() {
		ping.Time = calmPingAfter
	}
	cc, err := grpc.NewClient("passthrough:///"+c.cfg.Endpoint.Addr(),
		grpc.WithContextDialer(l.dial),
		grpc.WithTransportCredentials(creds),
		grpc.WithUserAgent(c.cfg.UserAgent),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
		grpc.WithIdleTimeout(0), // links see to that
		grpc.WithKeepaliveParams(ping),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: connectTimeout}),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(wire.Codec), grpc.MaxCallRecvMsgSize(maxMessage)),
	)
	if err != nil {
		return nil, err
	}
	l.cc = cc
	l.idle = time.AfterFunc(idleTime, l.expire)
	l.idle.Stop()
	p.links = append(p.links, l)
	c.pools[p.route] = p
	return l, nil
}

// dial opens the TCP connection. A function that is not done when ctx ends is not
// waited for; its connection is closed.
func (l *link) dial(ctx context.Context, addr string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	results := make(chan result)
	go func() {
		conn, err := l.pool.route.Dial(ctx, "tcp", addr)
		select {
		case results <- result{conn, err}:
		case <-ctx.Done():
			if err == nil {
				_ = conn.Close()
			}
		}
	}()
	select {
	case r := <-results:
		if r.err != nil {
			return nil, r.err
		}
		return &heardConn{r.conn, &l.heard}, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// heardConn counts what is heard of the other side.
type heardConn struct {
	net.Conn
	heard *atomic.Int64
}

func (c *heardConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.heard.Add(1)
	}
	return n, err
}

// ready reports whether the link stands.
func (l *link) ready() bool { return l.cc.GetState() == connectivity.Ready }

// full is told that a link has no stream for a place that was taken: the server
// allows fewer than maxStreams. That is believed for as long as links last.
func (c *Client) full(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l.pool.most = min(l.pool.most, max(l.open, 1))
	l.pool.until = time.Now().Add(lifetime)
}

// opened is told that there is a stream for a place.
func (c *Client) opened(t *try) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !t.over {
		t.open = true
		t.link.open++
	}
}

// giveBack gives back the place of a try, if that has not been done.
func (c *Client) giveBack(t *try) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.over {
		return
	}
	t.over = true
	l := t.link
	if t.open {
		l.open--
	}
	switch l.streams--; {
	case l.streams > 0:
	case l.retired:
		l.close()
	default:
		l.idle.Reset(idleTime)
	}
}

// expire closes a link that nobody has used for long.
func (l *link) expire() {
	l.client.mu.Lock()
	defer l.client.mu.Unlock()
	if l.streams == 0 {
		l.retireLocked()
	}
}

func (l *link) retire() {
	l.client.mu.Lock()
	defer l.client.mu.Unlock()
	l.retireLocked()
}

func (p *pool) retireLocked() {
	for _, l := range slices.Clone(p.links) {
		l.retireLocked()
	}
}

// retireLocked makes the link take no more streams. It is closed after the last.
func (l *link) retireLocked() {
	if l.retired {
		return
	}
	l.retired = true
	l.idle.Stop()
	p := l.pool
	p.links = slices.DeleteFunc(p.links, func(other *link) bool { return other == l })
	if len(p.links) == 0 {
		delete(l.client.pools, p.route)
	}
	if l.streams == 0 {
		l.close()
	}
}

// close closes the connection. gRPC says goodbye first, and waits for up to five
// seconds until that is sent.
func (l *link) close() { go func() { _ = l.cc.Close() }() }
