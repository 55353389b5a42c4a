package cloudsqlconn

import (
	"context"
	"encoding/binary"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/pgstartup"
)

const (
	// cancelTimeout bounds how long a request to cancel a query is held up by a
	// host that cannot be reached.
	cancelTimeout = 5 * time.Second

	// The codes of a client's first message that are no version of the protocol.
	cancelCode = 80877102
	sslCode    = 80877103
	gssCode    = 80877104

	// mostRequest is more than a request to cancel has: a key of 256 bytes at most.
	mostRequest = 1 << 10
)

// requests are what a Serve's clients begin with at a PostgreSQL: an IAM login, which
// is repeated when there is a new login token, or a request to cancel a query. A client comes with one over a connection of its own, which of a read pool leads
// to any node: it goes to all hosts that connections of this Serve are on. A server
// does not mind one that is not meant for it.
type requests struct {
	dialer *Dialer
	name   string
	opts   []DialOption

	mu    sync.Mutex               // guards everything below
	conns map[*requestingConn]bool // that are open
}

// dial connects a client.
func (r *requests) dial(ctx context.Context) (net.Conn, error) {
	conn, err := r.dialer.Dial(ctx, r.name, r.opts...)
	if err != nil {
		return nil, err
	}
	server, ok := conn.(serverConn)
	if !ok || server.location() == nil || !strings.HasPrefix(server.EngineVersion(), "POSTGRES") {
		return conn, nil
	}
	c := &requestingConn{serverConn: server, requests: r, ctx: ctx}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conns == nil {
		r.conns = make(map[*requestingConn]bool)
	}
	r.conns[c] = true
	if socket, ok := conn.(syscall.Conn); ok {
		return struct {
			*requestingConn
			syscall.Conn
		}{c, socket}, nil
	}
	return c, nil
}

// send sends a request to all hosts but the one of c, which gets it by itself.
func (r *requests) send(c *requestingConn, request []byte) {
	seen := map[location]bool{*c.location(): true}
	opts := slices.Clip(append(slices.Clip(r.opts), WithDialTimeout(cancelTimeout)))
	var wg sync.WaitGroup
	r.mu.Lock()
	for other := range r.conns {
		if at := *other.location(); !seen[at] {
			seen[at] = true
			wg.Go(func() { r.sendTo(c.ctx, request, append(opts, WithSameHost(other.serverConn))) })
		}
	}
	r.mu.Unlock()
	wg.Wait()
}

// sendTo sends a request, and waits for the server to hang up, which is when it
// has seen to it.
func (r *requests) sendTo(ctx context.Context, request []byte, opts []DialOption) {
	c, err := r.dialer.Dial(ctx, r.name, opts...)
	if err != nil {
		return // a host that is gone has no queries
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(cancelTimeout))
	if _, err := c.Write(request); err == nil {
		_, _ = c.Read(make([]byte, 1))
	}
}

// serverConn is a connection of the Dialer by an address.
type serverConn interface {
	net.Conn
	CloseWrite() error
	EngineVersion() string
	RepeatLogin(as string, opts []DialOption, do func(net.Conn) (again bool, err error))
	location() *location
}

// requestingConn is a connection of which it is not known yet what it is for.
type requestingConn struct {
	serverConn
	requests *requests
	ctx      context.Context // the door's

	said []byte // by the client, as long as that is what it begins with
	over bool   // it has said what it wants
}

// Write writes what the client says. If b ends a request, the other hosts get that
// first.
func (c *requestingConn) Write(b []byte) (int, error) {
	if !c.over {
		c.look(b)
	}
	return c.serverConn.Write(b)
}

// look looks at the client's first messages: a length and a code, for a request to
// cancel a query the number and the key of a session, and for a login the parameters.
func (c *requestingConn) look(b []byte) {
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

// begins is told what the client begins with. Whether a login goes well is not looked
// at: one that does not is refused at its first repetition, too, and then forgotten.
func (c *requestingConn) begins(code uint32, message []byte) {
	if code == cancelCode {
		c.requests.send(c, message)
	} else if user, database, ok := pgstartup.Parameters(message); ok {
		as, login := pgstartup.Again(user, database)
		c.RepeatLogin(as, c.requests.opts, login)
	}
}

// Close closes the connection.
func (c *requestingConn) Close() error {
	c.requests.mu.Lock()
	delete(c.requests.conns, c)
	c.requests.mu.Unlock()
	return c.serverConn.Close()
}
