// Package pgcancel sends the requests of PostgreSQL's clients to cancel a query to every
// host that it may run on. It knows the beginning of PostgreSQL's protocol, and hosts
// only as something to compare.
package pgcancel

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

const (
	// Timeout bounds how long a request to cancel a query is held up by a
	// host that cannot be reached.
	Timeout = 5 * time.Second

	// The codes of a client's first message that are no version of the protocol.
	cancelCode = 80877102
	sslCode    = 80877103
	gssCode    = 80877104

	// mostRequest is more than a request to cancel has: a key of 256 bytes at most.
	mostRequest = 1 << 10
)

// Requests are the requests of a listener's clients to cancel a query. A client comes
// with one over a connection of its own, which of a read pool leads to any node: it goes
// to all hosts that connections of this listener are on. A server does not mind one that
// is not meant for it. Its methods are safe for concurrent use.
type Requests struct {
	// Dial connects to the instance, by the host that same is on if it is not nil.
	Dial func(ctx context.Context, same net.Conn) (net.Conn, error)

	// Host returns what stands for the host that a connection is on: equal values are
	// one host. Nil: requests do not go there.
	Host func(net.Conn) any

	mu    sync.Mutex     // guards everything below
	conns map[*conn]bool // that are open
}

// Connect connects a client.
func (r *Requests) Connect(ctx context.Context) (net.Conn, error) {
	server, err := r.Dial(ctx, nil)
	if err != nil {
		return nil, err
	}
	whole, ok := server.(serverConn)
	if !ok {
		return server, nil
	}
	host := r.Host(server)
	if host == nil {
		return server, nil
	}
	c := &conn{serverConn: whole, requests: r, host: host, ctx: ctx}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conns == nil {
		r.conns = make(map[*conn]bool)
	}
	r.conns[c] = true
	return c, nil
}

// send sends a request to all hosts but the one of c, which gets it by itself.
func (r *Requests) send(c *conn, request []byte) {
	seen := map[any]bool{c.host: true}
	var wg sync.WaitGroup
	r.mu.Lock()
	for other := range r.conns {
		if !seen[other.host] {
			seen[other.host] = true
			wg.Go(func() { r.sendTo(c.ctx, request, other.serverConn) })
		}
	}
	r.mu.Unlock()
	wg.Wait()
}

// sendTo sends a request, and waits for the server to hang up, which is when it
// has seen to it.
func (r *Requests) sendTo(ctx context.Context, request []byte, same net.Conn) {
	c, err := r.Dial(ctx, same)
	if err != nil {
		return // a host that is gone has no queries
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(Timeout))
	if _, err := c.Write(request); err == nil {
		_, _ = c.Read(make([]byte, 1))
	}
}

// serverConn is a connection to an instance.
type serverConn interface {
	net.Conn
	CloseWrite() error
	EngineVersion() string
}

// conn is a connection that may turn out to be for a request.
type conn struct {
	serverConn
	requests *Requests
	host     any
	ctx      context.Context // the door's

	said []byte // by the client, as long as that can be the beginning of a request
	over bool   // it has said what it wants
}

// Write writes what the client says. If b ends a request, the other hosts get that
// first.
func (c *conn) Write(b []byte) (int, error) {
	if !c.over {
		c.look(b)
	}
	return c.serverConn.Write(b)
}

// look looks at the client's first messages: a length and a code, and for a request
// to cancel a query the number and the key of a session.
func (c *conn) look(b []byte) {
	const headSize = 8
	c.said = append(c.said, b[:min(len(b), mostRequest)]...)
	for len(c.said) >= headSize {
		size, code := binary.BigEndian.Uint32(c.said), binary.BigEndian.Uint32(c.said[4:])
		switch {
		case size == headSize && (code == sslCode || code == gssCode): // an answer, and another message follow
			c.said = c.said[headSize:]
			continue
		case code != cancelCode || size <= headSize || size > mostRequest:
			c.over = true
		case len(c.said) >= int(size):
			c.over = true
			c.requests.send(c, c.said[:size])
		}
		break
	}
	if c.over {
		c.said = nil
	}
}

// NetConn returns the connection that it is around.
func (c *conn) NetConn() net.Conn { return c.serverConn }

// SyscallConn gives access to the socket, if the connection that it is around does.
func (c *conn) SyscallConn() (syscall.RawConn, error) {
	if s, ok := c.serverConn.(syscall.Conn); ok {
		return s.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// Close closes the connection.
func (c *conn) Close() error {
	c.requests.mu.Lock()
	delete(c.requests.conns, c)
	c.requests.mu.Unlock()
	return c.serverConn.Close()
}
