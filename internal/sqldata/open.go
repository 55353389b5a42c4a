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

// try is one go at opening a stream, over one link.
type try struct {
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

// event is what has become of a try: a stream, then an answer on it, or an
// error.
type event struct {
	try  *try
	conn *Conn
	err  error
}

// open opens a stream. It makes a second try, over another link, if the first
// one has no place, or may be dead.
func (c *Client) open(ctx context.Context, s wire.Session, header metadata.MD, token string, r *Route) (*Conn, error) {
	var (
		tries  []*try
		won    *try
		failed error // of a try, while another goes on
		events = make(chan event, 4)
		done   = make(chan struct{})
		ticker = time.NewTicker(look)
	)
	defer ticker.Stop()
	defer close(done)
	defer func() {
		for _, t := range tries {
			if t != won {
				t.drop()
			}
		}
	}()
	begin := func(beside *try) error {
		l, err := c.take(r, beside)
		if err != nil {
			return err
		}
		streamCtx, cancel := context.WithCancel(metadata.NewOutgoingContext(context.Background(), header))
		t := &try{link: l, began: time.Now(), heard: l.heard.Load(), token: token, cancel: cancel}
		tries = append(tries, t)
		go t.run(streamCtx, s, events, done)
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
				e.try.conn = e.conn
			case e.err == nil:
				e.try.link.pool.terse.Store(false)
				won = e.try
				return won.conn, nil
			case len(tries) == 1 || !isLost(e.err):
				return nil, e.err
			default:
				failed = e.err
				e.try.drop()
				tries = slices.DeleteFunc(tries, func(t *try) bool { return t == e.try })
			}
		case <-ticker.C:
			for i, t := range tries {
				t.looks++
				last := i == len(tries)-1
				if t.silent() && (t.alive() || last && t.link.pool.terse.Load()) {
					t.link.pool.terse.Store(true)
					won = t
					return won.conn, nil
				}
			}
			if t := tries[0]; len(tries) == 1 && failed == nil && c.stuck(t) {
				if err := begin(t); err != nil {
					return nil, err
				}
			}
		case <-ctx.Done():
			return nil, tries[len(tries)-1].stopped(ctx, failed)
		}
	}
}

// drop ends a try that is of no use.
func (t *try) drop() {
	t.cancel()
	t.link.client.giveBack(t)
}

// ended is told how the stream has ended.
func (t *try) ended(err error) {
	if tooManyPings(err) {
		t.link.client.calm.Store(true)
		t.link.retire()
	}
	t.link.client.giveBack(t)
}

// run opens the stream and starts the session.
func (t *try) run(ctx context.Context, s wire.Session, events chan<- event, done <-chan struct{}) {
	stream, err := t.link.cc.NewStream(ctx, &wire.Desc, wire.Path)
	if err == nil {
		err = stream.SendMsg(&wire.Request{Start: &s})
	}
	early := errors.Is(err, io.EOF) // the stream has ended: what is received tells why
	if err != nil && !early {
		err = hide(t.token, streamError(err))
		if isLost(err) {
			t.link.retire() // it waits before it connects again
		}
		events <- event{try: t, err: err}
		return
	}
	t.link.client.opened(t)
	c := newConn(stream, t.cancel, t.ended, s.Name(), t.token)
	events <- event{try: t, conn: c}
	if err, heard := c.hear(done); heard {
		if early && isLost(err) {
			t.link.retire()
		}
		events <- event{try: t, err: err}
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
func (t *try) silent() bool { return t.conn != nil && t.looks >= patience }

// alive reports whether the link has heard anything since the try began.
func (t *try) alive() bool { return t.link.heard.Load() > t.heard }

// stuck reports whether the try may do better over another link, and sees to
// it that others do not try this one.
func (c *Client) stuck(t *try) bool {
	switch {
	case t.conn == nil && t.link.ready(): // the server allows no more streams
		if t.waits++; t.waits < 2 {
			return false // or the link has come to stand just now
		}
		c.full(t.link)
		return true
	case t.looks < patience:
		return false
	case t.conn != nil:
		t.link.retire()
	}
	return true
}

// stopped says why the try did not succeed until ctx ended.
func (t *try) stopped(ctx context.Context, failed error) error {
	what := "connecting to " + t.link.client.cfg.Endpoint.Addr()
	switch {
	case t.conn != nil:
		what = "the service's answer"
	case t.link.ready():
		what = "a free stream: the service allows no more of them on one connection"
	}
	err := fmt.Errorf("waited for %s: %w", what, context.Cause(ctx))
	if failed != nil {
		err = fmt.Errorf("%w; before that: %w", err, failed)
	}
	return err
}
