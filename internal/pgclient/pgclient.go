// Package pgclient looks at what a listener's clients of PostgreSQL begin with: it tells
// of logins, and sends a request to cancel a query to every host that the query may run
// on. It knows the beginning of PostgreSQL's protocol, and hosts only as something to
// compare.
package pgclient

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/pgstartup"
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

// Clients are the clients of a listener. One comes with a request to cancel a query over
// a connection of its own, which of a read pool leads to any node: the request goes to
// all hosts that connections of this listener are on. A server does not mind one that is
// not meant for it. Its methods are safe for concurrent use.
type Clients struct {
	// Dial connects to the instance, by the host that same is on if it is not nil.
	Dial func(ctx context.Context, same net.Conn) (net.Conn, error)

	// Host returns what stands for the host that a connection is on: equal values are
	// one host. Nil: what clients of that connection begin with is not looked at.
	Host func(net.Conn) any

	// Login is told who is about to log in over a connection that Dial has returned.
	// Whether that goes well is not known.
	Login func(c net.Conn, user, database string)

	mu    sync.Mutex     // guards everything below
	conns map[*conn]bool // that are open
}

// Connect connects a client.
func (cs *Clients) Connect(ctx context.Context) (net.Conn, error) {
	server, err := cs.Dial(ctx, nil)
	if err != nil {
		return nil, err
	}
	whole, ok := server.(serverConn)
	if !ok {
		return server, nil
	}
	host := cs.Host(server)
	if host == nil {
		return server, nil
	}
	c := &conn{serverConn: whole, clients: cs, host: host, ctx: ctx}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.conns == nil {
		cs.conns = make(map[*conn]bool)
	}
	cs.conns[c] = true
	return c, nil
}

// send sends a request to all hosts but the one of c, which gets it by itself.
func (cs *Clients) send(c *conn, request []byte) {
	seen := map[any]bool{c.host: true}
	var wg sync.WaitGroup
	cs.mu.Lock()
	for other := range cs.conns {
		if !seen[other.host] {
			seen[other.host] = true
			wg.Go(func() { cs.sendTo(c.ctx, request, other.serverConn) })
		}
	}
	cs.mu.Unlock()
	wg.Wait()
}

// sendTo sends a request, and waits for the server to hang up, which is when it
// has seen to it.
func (cs *Clients) sendTo(ctx context.Context, request []byte, same net.Conn) {
	c, err := cs.Dial(ctx, same)
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
}

// conn is a connection of which it is not known yet what it is for.
type conn struct {
	serverConn
	clients *Clients
	host    any
	ctx     context.Context // the door's

	said []byte // by the client, as long as that is what it begins with
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

// look looks at the client's first messages: a length and a code, for a request to
// cancel a query the number and the key of a session, and for a login the parameters.
func (c *conn) look(b []byte) {
	const headSize = 8
	c.said = append(c.said, b[:min(len(b), pgstartup.MostStartup)]...)
	for len(c.said) >= headSize {
		size, code := binary.BigEndian.Uint32(c.said), binary.BigEndian.Uint32(c.said[4:])
		most := uint32(pgstartup.MostStartup)
		if code == cancelCode {
			most = mostRequest
		}
		switch {
		case size == headSize && (code == sslCode || code == gssCode): // an answer, and another message follow
			c.said = c.said[headSize:]
			continue
		case size <= headSize || size > most:
			c.over = true
		case len(c.said) >= int(size):
			c.over = true
			c.begins(code, c.said[:size])
		}
		break
	}
	if c.over {
		c.said = nil
	}
}

// NetConn returns the connection that it is around.
func (c *conn) NetConn() net.Conn { return c.serverConn }

// begins is told what the client begins with.
func (c *conn) begins(code uint32, message []byte) {
	if code == cancelCode {
		c.clients.send(c, message)
	} else if user, database, ok := pgstartup.Parameters(message); ok {
		c.clients.Login(c.serverConn, user, database)
	}
}

// SyscallConn gives access to the socket, if the connection that it is around does.
func (c *conn) SyscallConn() (syscall.RawConn, error) {
	if s, ok := c.serverConn.(syscall.Conn); ok {
		return s.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// Close closes the connection.
func (c *conn) Close() error {
	c.clients.mu.Lock()
	delete(c.clients.conns, c)
	c.clients.mu.Unlock()
	return c.serverConn.Close()
}
