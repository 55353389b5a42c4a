package sqldata

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata/wire"
)

const (
	// look is how often an Open looks at what it waits for.
	look = 250 * time.Millisecond

	// patience is how many looks a service has to say something.
	patience = 4
)

// attempt is a try to open a stream over one link.
type attempt struct {
	link   *link
	began  time.Time
	heard  int64              // by the link, before
	token  string             // that authorises it
	cancel context.CancelFunc // ends the stream

	conn  *Conn // nil: there is no stream yet
	looks int
	waits int // looks at a link that stands, and has no stream

	// guarded by Client.mu
	open bool // there is a stream
	over bool // the place has been given back
}

// event is what has become of an attempt: a stream, then an answer on it, or an
// error.
type event struct {
	attempt *attempt
	conn    *Conn
	err     error
}

// open opens a stream. It makes a second attempt, over another link, if the first
// one has no place, or may be dead.
func (c *Client) open(ctx context.Context, s wire.Session, header metadata.MD, token string, r *Route) (*Conn, error) {
	var (
		attempts []*attempt
		won      *attempt
		failed   error // of an attempt, while another goes on
		events   = make(chan event, 4)
		done     = make(chan struct{})
		ticker   = time.NewTicker(look)
	)
	defer ticker.Stop()
	defer close(done)
	defer func() {
		for _, a := range attempts {
			if a != won {
				a.drop()
			}
		}
	}()
	begin := func(beside *attempt) error {
		l, err := c.take(r, beside)
		if err != nil {
			return err
		}
		streamCtx, cancel := context.WithCancel(metadata.NewOutgoingContext(context.Background(), header))
		a := &attempt{link: l, began: time.Now(), heard: l.heard.Load(), token: token, cancel: cancel}
		attempts = append(attempts, a)
		go a.run(streamCtx, s, events, done)
		return nil
	}
	if err := begin(nil); err != nil {
		return nil, err
	}
	for {
		select {
		case e := <-events:
			switch {
			case e.conn != nil:
				e.attempt.conn = e.conn
			case e.err == nil:
				e.attempt.link.pool.terse.Store(false)
				won = e.attempt
				return won.conn, nil
			case len(attempts) == 1 || !isLost(e.err):
				return nil, e.err
			default:
				failed = e.err
				e.attempt.drop()
				attempts = slices.DeleteFunc(attempts, func(a *attempt) bool { return a == e.attempt })
			}
		case <-ticker.C:
			for i, a := range attempts {
				a.looks++
				last := i == len(attempts)-1
				if a.silent() && (a.alive() || last && a.link.pool.terse.Load()) {
					a.link.pool.terse.Store(true)
					won = a
					return won.conn, nil
				}
			}
			if a := attempts[0]; len(attempts) == 1 && failed == nil && c.stuck(a) {
				if err := begin(a); err != nil {
					return nil, err
				}
			}
		case <-ctx.Done():
			return nil, attempts[len(attempts)-1].stopped(ctx, failed)
		}
	}
}

// drop ends an attempt that is of no use.
func (a *attempt) drop() {
	a.cancel()
	a.link.client.giveBack(a)
}

// ended is told how the stream has ended.
func (a *attempt) ended(err error) {
	if tooManyPings(err) {
		a.link.client.calm.Store(true)
		a.link.retire()
	}
	a.link.client.giveBack(a)
}

// run opens the stream and starts the session.
func (a *attempt) run(ctx context.Context, s wire.Session, events chan<- event, done <-chan struct{}) {
	stream, err := a.link.cc.NewStream(ctx, &wire.Desc, wire.Path)
	if err == nil {
		err = stream.SendMsg(&wire.Request{Start: &s})
	}
	early := errors.Is(err, io.EOF) // the stream has ended: what is received tells why
	if err != nil && !early {
		err = hide(a.token, streamError(err))
		if isLost(err) {
			a.link.retire() // it waits before it connects again
		}
		events <- event{attempt: a, err: err}
		return
	}
	a.link.client.opened(a)
	c := newConn(stream, a.cancel, a.ended, s.Name(), a.token)
	events <- event{attempt: a, conn: c}
	if err, heard := c.hear(done); heard {
		if early && isLost(err) {
			a.link.retire()
		}
		events <- event{attempt: a, err: err}
	}
}

// hear waits for the first message of the service, or until done. It returns why
// the stream has failed, if it has.
func (c *Conn) hear(done <-chan struct{}) (err error, heard bool) {
	c.mu.Lock()
	first := c.first
	c.receiveLocked()
	c.mu.Unlock()
	select {
	case <-first:
	case <-done:
		return nil, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if errors.Is(c.err, io.EOF) { // a Read tells that
		return nil, true
	}
	return c.err, true
}

// isLost reports whether err is about the link, and not the service's answer.
func isLost(err error) bool {
	e, ok := errors.AsType[*StatusError](err)
	return ok && e.Code == codes.Unavailable
}

// silent reports whether the service has had its time for a first message.
func (a *attempt) silent() bool { return a.conn != nil && a.looks >= patience }

// alive reports whether the link has heard anything since the attempt began.
func (a *attempt) alive() bool { return a.link.heard.Load() > a.heard }

// stuck reports whether the attempt may do better over another link, and sees to
// it that others do not try this one.
func (c *Client) stuck(a *attempt) bool {
	switch {
	case a.conn == nil && a.link.ready(): // the server allows no more streams
		if a.waits++; a.waits < 2 {
			return false // or the link has come to stand just now
		}
		c.full(a.link)
		return true
	case a.looks < patience:
		return false
	case a.conn != nil:
		a.link.retire()
	}
	return true
}

// stopped says why the attempt did not succeed until ctx ended.
func (a *attempt) stopped(ctx context.Context, failed error) error {
	what := "connecting to " + a.link.client.cfg.Endpoint.Addr()
	switch {
	case a.conn != nil:
		what = "the service's answer"
	case a.link.ready():
		what = "a free stream: the service allows no more of them on one connection"
	}
	err := fmt.Errorf("waited for %s: %w", what, context.Cause(ctx))
	if failed != nil {
		err = fmt.Errorf("%w; before that: %w", err, failed)
	}
	return err
}
