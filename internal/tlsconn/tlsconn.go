// Package tlsconn is TLS for connections that lie idle in pools: drivers can ask
// whether one is still alive. It knows nothing of whom to trust.
//
// Drivers ask the socket, before they use a connection again: is there
// something to read? Under TLS that is no answer. The server may have sent a
// session ticket or changed its key, which mean nothing; and who reads a byte to
// find out breaks the stream. A [Conn] answers for its socket.
//
// No method but Read and Write waits for a Read or a Write in progress.
package tlsconn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Conn is the client's side of a TLS connection. Shake hands before using it.
// Deadlines can be set whatever is below: see internal/deadline. Other than with
// crypto/tls, a Write that has met its deadline does not break the connection:
// what it has taken of its data goes out before that of the next.
type Conn struct {
	*tls.Conn
	under transport

	traffic atomic.Int32 // data: nothing, wrote or heard
	one     [1]byte      // what a look has read; guarded by readMu
	peeked  bool         // there is something in one; guarded by readMu
	outer   bool         // see Outer

	readMu  sync.Mutex // held by Reads and looks
	later   *error     // of the next Read, or nil; guarded by readMu
	writeMu sync.Mutex // held by Writes and looks: TLS may have to answer what is read
}

// What of data has come and gone.
const (
	nothing = iota
	wrote   // and heard nothing
	heard
)

// Client is [tls.Client].
func Client(raw net.Conn, config *tls.Config) *Conn {
	c := new(Conn)
	c.under.init(raw)
	c.Conn = tls.Client(&c.under, config)
	return c
}

// Outer is Client for a session that another one is to run in: the alerts of
// its server do not look like alerts of the other's.
func Outer(raw net.Conn, config *tls.Config) *Conn {
	c := Client(raw, config)
	c.outer = true
	return c
}

// HandshakeContext is that of [tls.Conn].
func (c *Conn) HandshakeContext(ctx context.Context) error {
	err := c.Conn.HandshakeContext(ctx)
	c.readMu.Lock()
	c.under.shaken = true
	c.readMu.Unlock()
	return err
}

// Handshake is HandshakeContext without a context.
func (c *Conn) Handshake() error { return c.HandshakeContext(context.Background()) }

// NetConn returns what Client was given.
func (c *Conn) NetConn() net.Conn { return c.under.given() }

const (
	maxRecord = 16 << 10 // what a record of TLS holds

	// bulk is what a record holds that more are likely to follow at once.
	bulk = 4 << 10

	// large is the room of a Read that is worth a buffer to read ahead.
	large = 2 * maxRecord
)

// Read is that of [tls.Conn], but of large records it returns more than one, if
// they are there.
func (c *Conn) Read(b []byte) (int, error) {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	if n, known, err := c.takeKnown(b); known {
		return n, err
	}
	c.under.large = len(b) >= large && c.under.canReadAhead()
	n, err := c.Conn.Read(b)
	if n > 0 && c.traffic.Load() != heard {
		c.traffic.Store(heard)
	}
	if c.under.large && n >= bulk && err == nil {
		n += c.readMore(b[n:])
	}
	return n, c.hide(err)
}

// readMore reads what is there.
func (c *Conn) readMore(b []byte) (n int) {
	c.under.trying = true
	defer func() { c.under.trying = false }()
	for m := bulk; m >= bulk && n < len(b); n += m {
		var err error
		if m, err = c.Conn.Read(b[n:]); err != nil {
			if err != errQuiet {
				err = c.hide(err)
				c.later = &err
			}
			return n + m
		}
	}
	return n
}

// takeKnown is a Read of what is known without one: what a look has read, and
// the error after the data of the last Read.
func (c *Conn) takeKnown(b []byte) (n int, known bool, err error) {
	switch {
	case c.peeked:
		n = copy(b, c.one[:])
		c.peeked = n == 0
		return n, true, nil
	case c.later != nil:
		err = *c.later
		c.later = nil
		return 0, true, err
	}
	return 0, false, nil
}

// said is what is known so of what the server has said: nil if that is nothing.
func (c *Conn) said() error {
	switch {
	case c.peeked:
		return ErrData
	case c.later != nil:
		return *c.later
	}
	return nil
}

// Write is that of [tls.Conn], but can go on after a deadline: how much it has
// written then counts what waits in memory, too.
func (c *Conn) Write(b []byte) (n int, err error) {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	for {
		if err := c.under.flush(); err != nil {
			return n, c.hide(err)
		}
		batch := b[n:min(len(b), n+maxBatch)]
		m, err := c.writeBatch(batch)
		n += m
		if m > 0 && c.traffic.Load() == nothing {
			c.traffic.CompareAndSwap(nothing, wrote)
		}
		if err == nil {
			err = c.under.late()
		}
		if err != nil || n == len(b) {
			return n, c.hide(err)
		}
	}
}

// writeBatch writes what goes into a few records.
func (c *Conn) writeBatch(b []byte) (int, error) {
	if len(b) <= maxRecord {
		return c.Conn.Write(b)
	}
	corked := c.under.cork()
	n, err := c.Conn.Write(b)
	if failed := c.under.uncork(corked); failed != nil {
		return 0, failed
	}
	return n, err
}

// goodbye is how long crypto/tls waits until the system takes the last record.
const goodbye = 5 * time.Second

// CloseWrite tells the server that nothing more will be written. It takes 5 s at
// most, and fails with [ErrBusy] during a Write.
func (c *Conn) CloseWrite() error {
	if !c.writeMu.TryLock() {
		return ErrBusy
	}
	defer c.writeMu.Unlock()
	_ = c.under.SetWriteDeadline(time.Now().Add(goodbye)) // for what a Read writes: an answer to a new key
	err := c.Conn.CloseWrite()
	if err == nil {
		err = c.under.late()
	}
	return c.hide(err)
}

// farewell is how long Close waits for the server. It is less than the 5 s of
// crypto/tls, since callers count on Close to be quick, and enough for one that
// is only slow.
const farewell = 200 * time.Millisecond

// Close ends the connection, and Reads and Writes in progress with it. It takes
// 0.2 s at most and mostly no time. That long it waits until the system takes
// the last record, which tells the server of the end; it does not try during a
// Write, and it is no error that the server cannot be told. And if data has been
// written, but none read, it waits for the server to have read all.
func (c *Conn) Close() error {
	c.under.closing.Store(true)
	if !c.writeMu.TryLock() {
		err := c.under.Close()
		_ = c.Conn.Close()
		return c.hide(err)
	}
	defer c.writeMu.Unlock()
	latest := time.Now().Add(farewell)
	_ = c.under.SetWriteDeadline(latest) // as CloseWrite does
	untold := c.Conn.CloseWrite()
	if c.HasSocket() && c.readMu.TryLock() {
		c.drain(latest, untold == nil && c.traffic.Load() == wrote)
		c.readMu.Unlock()
	}
	err := c.Conn.Close()
	if untold != nil && errors.Is(err, untold) {
		err = nil // it is closed all the same
	}
	return c.hide(err)
}

// Cut ends the connection without a word, and without waiting for the server.
func (c *Conn) Cut() {
	if outer, ok := c.under.Conn.(*Conn); ok {
		outer.Cut()
		return
	}
	_ = c.under.Close()
}

// maxDrain bounds what Close reads.
const maxDrain = 64 << 10

// drain reads what nobody has read: when a socket is closed that has something
// to read, or gets it later, the system resets the connection, and the server
// loses what it has not read yet. Session tickets are something to read. Before
// the first data they may still be on the way: then they are waited for, and the
// server's end after them.
func (c *Conn) drain(latest time.Time, wait bool) {
	half, ok := c.under.Conn.(interface{ CloseWrite() error })
	wait = wait && ok && half.CloseWrite() == nil && c.under.SetReadDeadline(latest) == nil
	_, inner := c.under.Conn.(*Conn) // the other drains its socket by itself
	for n := 0; n < maxDrain && (wait || !inner && c.under.look() == nil); {
		m, err := c.under.Conn.Read(make([]byte, 4<<10))
		if err != nil {
			return
		}
		n += m
	}
}

// hide makes the alert of a server that only passes another's data on an error
// that is none.
func (c *Conn) hide(err error) error {
	if err == nil || !c.outer {
		return err
	}
	return HideAlert(err)
}

// HideAlert returns err, but as an error that errors.As does not find to be an
// alert if it is one from the other side.
func HideAlert(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" { // how crypto/tls marks them
		return fmt.Errorf("TLS to the proxy: remote error: %w", op.Err)
	}
	return err
}

// SetDeadline sets both deadlines, as [net.Conn] says.
func (c *Conn) SetDeadline(t time.Time) error {
	return c.under.setDeadlines(t, both)
}

// SetReadDeadline sets the deadline of Reads.
func (c *Conn) SetReadDeadline(t time.Time) error {
	return c.under.setDeadlines(t, reads)
}

// SetWriteDeadline sets the deadline of Writes.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	return c.under.setDeadlines(t, writes)
}
