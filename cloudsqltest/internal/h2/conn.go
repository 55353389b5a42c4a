// Package h2 has the server's end of an HTTP/2 connection whose frames are looked
// at, and which can be told to go away, or to lose what is sent. It knows nothing
// of what runs on the connection.
package h2

import (
	"crypto/tls"
	"encoding/binary"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/internal/sockets"
)

// Events are called before the client can notice what they are called for. They
// must not block.
type Events struct {
	Ping         func() // a PING frame of the client's, without its answers to those of the server
	TooManyPings func() // a GOAWAY with ENHANCE_YOUR_CALM
	GoneAway     func() // a GOAWAY of GoAway's
	Cut          func() // Cut, or the end of GoAway's grace
}

// Conn is a connection as the server sees it: decrypted. Its methods are safe for
// concurrent use.
type Conn struct {
	net.Conn
	events  Events
	hole    *sockets.BlackHole
	closed  chan struct{}
	closing sync.Once
	ended   atomic.Bool // Read has failed
	cut     atomic.Bool // Cut has been called
	in      frames      // Reads are one at a time

	turn  chan struct{} // taken by who writes; guards everything below
	out   frames
	leave bool        // a GOAWAY is to be written
	grace *time.Timer // after it
}

// NewConn returns a connection over raw, with TLS unless config is nil.
func NewConn(raw net.Conn, config *tls.Config, events Events) *Conn {
	c := &Conn{events: events, hole: &sockets.BlackHole{Conn: raw}, closed: make(chan struct{}), turn: make(chan struct{}, 1)}
	c.in.skip(len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")) // which is what a client begins with
	c.Conn = c.hole
	if config != nil {
		c.Conn = tls.Server(c.hole, config)
	}
	return c
}

// Ended reports whether Read has failed: the client is gone, or cut off.
func (c *Conn) Ended() bool { return c.ended.Load() }

// WasCut reports whether Cut has been called.
func (c *Conn) WasCut() bool { return c.cut.Load() }

// Closed is closed by Close.
func (c *Conn) Closed() <-chan struct{} { return c.closed }

// Read counts pings.
func (c *Conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.in.scan(b[:n], func(f []byte) {
		if f[3] == framePing && f[4]&1 == 0 {
			c.events.Ping()
		}
	})
	if err != nil {
		c.ended.Store(true)
	}
	return n, err
}

// Write counts what ends the connection for too many pings.
func (c *Conn) Write(b []byte) (int, error) {
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	c.out.scan(b, func(f []byte) {
		if f[3] == frameGoAway && binary.BigEndian.Uint32(f[13:]) == enhanceYourCalm {
			c.events.TooManyPings()
		}
	})
	n, err := c.Conn.Write(b)
	if err == nil {
		c.writeGoAway()
	}
	return n, err
}

// Close closes the connection. It can be called again.
func (c *Conn) Close() (err error) {
	c.closing.Do(func() {
		err = c.Conn.Close()
		close(c.closed)
	})
	return err
}

// Cut ends the TCP connection, by a reset or in an orderly way.
func (c *Conn) Cut(withReset bool) {
	c.cut.Store(true)
	c.events.Cut()
	if withReset {
		sockets.Reset(c.hole.Conn)
		return
	}
	sockets.CloseOrderly(c.hole.Conn)
}

// Swallow makes the connection lose everything that is sent either way.
func (c *Conn) Swallow() { c.hole.Open() }

// Finish returns when nothing goes on any more: when the client of a connection
// that loses everything has given up, or that has been cut. It must be called
// after Close.
func (c *Conn) Finish() {
	c.hole.Outlive()
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	if c.grace != nil {
		c.grace.Stop()
	}
}

// GoAway writes a GOAWAY, now or after the frame that is being written, and cuts the
// connection after the grace period.
func (c *Conn) GoAway(grace time.Duration) {
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	if c.isClosed() {
		return
	}
	c.events.GoneAway()
	c.leave = true
	c.writeGoAway()
	if c.grace != nil {
		c.grace.Stop()
	}
	c.grace = time.AfterFunc(grace, func() {
		if !c.isClosed() {
			c.Cut(false)
		}
	})
}

func (c *Conn) isClosed() bool {
	select {
	case <-c.closed:
		return true
	default:
		return false
	}
}

// writeGoAway writes the GOAWAY that is due, unless that would be amid a frame.
// It says that all streams may go on.
func (c *Conn) writeGoAway() {
	if !c.leave || !c.out.between() {
		return
	}
	c.leave = false
	const why = "session_timed_out"
	f := []byte{0, 0, byte(8 + len(why)), frameGoAway, 0, 0, 0, 0, 0}
	f = binary.BigEndian.AppendUint32(f, math.MaxInt32) // the last stream
	f = binary.BigEndian.AppendUint32(f, 0)             // NO_ERROR
	_, _ = c.Conn.Write(append(f, why...))
}
