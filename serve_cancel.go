package cloudsqlconn

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

const (
	// cancelTimeout bounds how long a request to cancel a query is held up by a
	// host that cannot be reached.
	cancelTimeout = 5 * time.Second

	// The codes of a client's first message that are no version of the protocol.
	cancelCode = 80877102
	sslCode    = 80877103
	gssCode    = 80877104

	// mostCancel is more than a request to cancel has: a key of 256 bytes at most.
	mostCancel = 1 << 10
)

// requests reads what a client of PostgreSQL sends. It comes with a connection of
// its own to have a query cancelled, which of a read pool leads to any node: the
// request goes to all hosts that this door has connections to. A server does not
// mind one that is not meant for it.
type requests struct {
	door   *door
	ctx    context.Context
	client net.Conn
	server net.Conn // where the client is passed on to
	ahead  []byte   // has been read, and not yet passed on
	over   bool     // the client has said what it wants
}

// from returns what reads from the client that is connected to server.
func (s *door) from(ctx context.Context, client, server net.Conn) io.Reader {
	v, ok := server.(interface{ EngineVersion() string })
	if !ok || !strings.HasPrefix(v.EngineVersion(), "POSTGRES") {
		return client
	}
	return &requests{door: s, ctx: ctx, client: client, server: server}
}

func (r *requests) Read(b []byte) (int, error) {
	if len(r.ahead) == 0 && !r.over {
		if err := r.message(); err != nil {
			return 0, err
		}
	}
	if len(r.ahead) > 0 {
		n := copy(b, r.ahead)
		r.ahead = r.ahead[n:]
		return n, nil
	}
	return r.client.Read(b)
}

// message reads the beginning of a message: its length, and a code. What is no
// request is not held up.
func (r *requests) message() error {
	head := make([]byte, 0, 8)
	for len(head) < 8 && beginsRequest(head) {
		n, err := r.client.Read(head[len(head):8])
		head = head[:len(head)+n]
		if err != nil && len(head) == 0 {
			return err
		}
		if err != nil {
			break // the next Read has it
		}
	}
	r.ahead, r.over = head, true
	if len(head) < 8 {
		return nil
	}
	size := binary.BigEndian.Uint32(head)
	switch code := binary.BigEndian.Uint32(head[4:]); {
	case (code == sslCode || code == gssCode) && size == 8:
		r.over = false // an answer, and another message follow
	case code == cancelCode && size > 8 && size <= mostCancel:
		rest := make([]byte, size-8)
		n, err := io.ReadFull(r.client, rest)
		if r.ahead = append(head, rest[:n]...); err == nil {
			r.door.cancel(r.ctx, r.server, r.ahead)
		}
	}
	return nil
}

// beginsRequest reports whether b, of less than 8 bytes, can be the beginning of a
// request.
func beginsRequest(b []byte) bool {
	whole := append(b[:len(b):len(b)], make([]byte, 8-len(b))...)
	size, code := binary.BigEndian.Uint32(whole), binary.BigEndian.Uint32(whole[4:])
	mask := ^uint32(0) << (32 - 8*max(0, len(b)-4)) // of what there is of the code
	return size <= mostCancel && (code == cancelCode&mask || code == sslCode&mask || code == gssCode&mask)
}

// cancel sends a request to cancel a query to all hosts but the one of server.
func (s *door) cancel(ctx context.Context, server net.Conn, request []byte) {
	seen := map[location]bool{*locationOf(server): true}
	opts := append(s.opts[:len(s.opts):len(s.opts)], WithDialTimeout(cancelTimeout))
	var wg sync.WaitGroup
	s.mu.Lock()
	for c := range s.conns {
		at := locationOf(c)
		if seen[*at] || at.host == "" {
			continue
		}
		seen[*at] = true
		wg.Go(func() { s.send(ctx, request, append(opts, WithSameHost(c))) })
	}
	s.mu.Unlock()
	wg.Wait()
}

// send sends a request to cancel a query, and waits for the server to hang up,
// which is when it has seen to it.
func (s *door) send(ctx context.Context, request []byte, opts []DialOption) {
	c, err := s.dialer.Dial(ctx, s.name, opts...)
	if err != nil {
		return // a host that is gone has no queries
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(cancelTimeout))
	if _, err := c.Write(request); err == nil {
		_, _ = c.Read(make([]byte, 1))
	}
}

// locationOf returns where a connection leads, nowhere if it is a client's or a
// stream.
func locationOf(c net.Conn) *location {
	if c, ok := c.(interface{ location() *location }); ok && c.location() != nil {
		return c.location()
	}
	return &location{}
}
