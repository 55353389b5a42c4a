package cloudsqlconn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/mdx"
	"github.com/cloudsqlconn/cloudsqlconn/internal/refusal"
)

// ServeOption configures [Dialer.Serve]. Every [DialOption] is one.
type ServeOption interface {
	applyServe(*serveConfig)
}

// serveConfig is all that Serve can be told.
type serveConfig struct {
	dial     []DialOption
	maxConns int // 0: no limit
	drain    time.Duration
	errs     []error
}

type serveOption func(*serveConfig)

func (o serveOption) applyServe(c *serveConfig) { o(c) }

func (o dialOption) applyServe(c *serveConfig) { c.dial = append(c.dial, o) }

const defaultDrainTimeout = 30 * time.Second

// WithMaxConnections bounds how many connections Serve has open at once. Those
// above are refused. Default: no bound but the instance's.
func WithMaxConnections(n int) ServeOption {
	return serveOption(func(c *serveConfig) {
		c.maxConns = n
		if n < 1 {
			c.errs = append(c.errs, fmt.Errorf("WithMaxConnections: want 1 or more, got %d", n))
		}
	})
}

// WithDrainTimeout sets how long Serve waits for its connections to end when it
// is to return; what is left then is cut. Default: 30 s. 0: it cuts at once.
func WithDrainTimeout(d time.Duration) ServeOption {
	return serveOption(func(c *serveConfig) {
		c.drain = d
		if d < 0 {
			c.errs = append(c.errs, fmt.Errorf("WithDrainTimeout: want 0 or more, got %v", d))
		}
	})
}

// Serve is a local door to an instance, for programs that cannot use a Dialer:
// it connects what comes in at l, TCP or unix, to the instance. Whoever reaches
// l is in as far as IAM is concerned; with IAM login no password is needed
// either. Listen on loopback or on a unix socket that only the right people
// can open.
//
// A client that cannot be connected is told why in the protocol of PostgreSQL or
// MySQL, and one of MySQL also if the database behind the instance is silent. Ends of streams are passed on in each direction by itself.
// A client's request to cancel a query of PostgreSQL goes to every node of a read
// pool that a connection of this Serve is on: which one the query runs on is not
// known.
//
// Serve closes l and returns when ctx has ended, the Dialer has been closed, or
// l fails, which is its error. Open connections then have the drain timeout to
// end.
func (d *Dialer) Serve(ctx context.Context, l net.Listener, name string, opts ...ServeOption) error {
	cfg := serveConfig{drain: defaultDrainTimeout}
	for i, o := range opts {
		if o == nil {
			cfg.errs = append(cfg.errs, fmt.Errorf("option %d is nil", i))
			continue
		}
		o.applyServe(&cfg)
	}
	if _, err := d.cfg.dial.with(cfg.dial); err != nil {
		cfg.errs = append(cfg.errs, err)
	}
	if len(cfg.errs) > 0 {
		_ = l.Close()
		return asConfigError(cfg.errs)
	}
	protocol := mdx.TCP
	if l.Addr().Network() == "unix" {
		protocol = mdx.UDS
	}
	cfg.dial = append(cfg.dial, dialOption(func(d *dialConfig) {
		d.protocol = protocol
		if d.exchange == exchangeByDrivers {
			d.exchange = exchangeAlways
		}
	}))
	if d.ctx.Err() != nil {
		_ = l.Close()
		return d.reason(name, ErrDialerClosed)
	}
	s := &door{dialer: d, name: name, opts: cfg.dial, maxConns: int64(cfg.maxConns), conns: map[net.Conn]bool{}, requests: requests{dialer: d, name: name, opts: cfg.dial}}
	return s.serve(ctx, l, cfg.drain)
}

// door is a listener that leads to an instance.
type door struct {
	dialer   *Dialer
	name     string
	opts     []DialOption
	maxConns int64 // 0: no limit
	open     atomic.Int64
	requests requests
	wg       sync.WaitGroup // counts connections

	mu    sync.Mutex        // guards everything below
	conns map[net.Conn]bool // both sides of each connection
	cut   bool              // there are to be no connections any more
}

func (s *door) serve(ctx context.Context, l net.Listener, drain time.Duration) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.dialer.ctx, cancel)()
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	err := s.accept(ctx, l)
	_ = l.Close()
	cancel() // dials in progress end

	timer := time.AfterFunc(drain, s.cutAll)
	defer timer.Stop()
	s.wg.Wait()
	return err
}

// accept takes connections until ctx ends or l fails.
func (s *door) accept(ctx context.Context, l net.Listener) error {
	const firstPause, maxPause = 5 * time.Millisecond, time.Second
	for pause := firstPause; ; {
		c, err := l.Accept()
		switch {
		case err == nil:
			pause = firstPause
			s.wg.Go(func() { s.connect(ctx, c) })
			continue
		case ctx.Err() != nil:
			return nil //nolint:nilerr // l was closed because ctx has ended
		case !passing(err):
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		pause = min(2*pause, maxPause)
	}
}

// passing reports whether Accept may succeed in a moment: this process, or the
// machine, has no more file descriptors or memory, or the client has hung up.
func passing(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// connect connects a client, or tells it why not.
func (s *door) connect(ctx context.Context, client net.Conn) {
	defer s.drop(client)
	if !s.keep(client) {
		return
	}
	defer s.open.Add(-1)
	if n := s.open.Add(1); s.maxConns > 0 && n > s.maxConns {
		s.refuse(ctx, client, &Error{Op: opDial, Instance: s.name, Err: fmt.Errorf("%d connections are open, and no more are allowed", s.maxConns)})
		return
	}
	server, err := s.requests.dial(ctx)
	if err != nil {
		s.refuse(ctx, client, err)
		return
	}
	defer s.drop(server)
	if !s.keep(server) {
		return
	}
	join(client, server, func(err error) { s.unanswered(ctx, client, server, err) })
}

// unanswered tells a client whose connection the server has ended, with err,
// before it said anything. Of PostgreSQL that is nothing to tell: it ends the
// connection of every request to cancel a query like this.
func (s *door) unanswered(ctx context.Context, client, server net.Conn, err error) {
	v, ok := server.(interface{ EngineVersion() string })
	if !ok || !strings.HasPrefix(v.EngineVersion(), "MYSQL") {
		return
	}
	if err == nil {
		err = &Error{Op: opHandshake, Instance: s.name, Hint: refusal.SilentHint, Err: errors.New("the connection was ended before the database answered")}
	}
	s.refuse(ctx, client, err)
}

// refuse tells a client why it is not connected.
func (s *door) refuse(ctx context.Context, client net.Conn, err error) {
	_ = refusal.Tell(client, s.engine(ctx), err.Error(), Hint(err)) // who has gone need not know
}

// engine returns the instance's engine, if that is known.
func (s *door) engine(ctx context.Context) string {
	if s.dialer.SQLDataMode(s.opts...) == SQLDataOnly {
		return "" // the Admin API is not asked in this way
	}
	known, cancel := context.WithCancel(ctx)
	cancel() // what is not known already is not waited for
	engine, _ := s.dialer.EngineVersion(known, s.name, s.opts...)
	return engine
}

// keep remembers c, unless all connections are to be cut.
func (s *door) keep(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.cut {
		s.conns[c] = true
	}
	return !s.cut
}

func (s *door) drop(c net.Conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	_ = c.Close()
}

// cutAll closes all connections at the same time: one may take its time.
func (s *door) cutAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut = true
	for c := range s.conns { // who has put it there waits for the lock, and counts until then
		s.wg.Go(func() { _ = c.Close() })
	}
}

// join passes on what each of two connections sends to the other, and its end.
// It returns when both directions have ended, or one has failed. silent is called
// if b has ended, or failed, before it sent anything.
func join(a, b net.Conn, silent func(error)) {
	var wg sync.WaitGroup
	pass := func(to, from net.Conn) {
		n, err := io.Copy(to, from)
		if from == b && n == 0 {
			silent(err)
		}
		half, ok := to.(interface{ CloseWrite() error })
		if err == nil && ok && half.CloseWrite() == nil {
			return
		}
		_ = a.Close()
		_ = b.Close()
	}
	wg.Go(func() { pass(a, b) })
	pass(b, a)
	wg.Wait()
}
