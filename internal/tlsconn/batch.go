package tlsconn

import (
	"net"
	"sync"
)

// maxBatch is how much a Write hands to TLS at once.
const maxBatch = 4 * maxRecord

// batch is a buffer for so many records, with what TLS adds to them.
type batch struct {
	text     [maxBatch + maxBatch/32]byte
	from, to int // what has been read ahead, and is still to be delivered
}

var batches = sync.Pool{New: func() any { return new(batch) }}

// cork makes what TLS writes wait for uncork, which gets the buffer: one call of
// the system for several records costs both sides less.
func (t *transport) cork() *batch {
	b := batches.Get().(*batch)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.corked, t.held = true, append(b.text[:0], t.held...) // flush has left nothing, but a Read may have since
	return b
}

// uncork writes what has waited. A deadline is no error.
func (t *transport) uncork(b *batch) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.corked = false
	if len(t.held) == 0 { // TLS has failed
		t.held = nil
		return nil
	}
	err := t.sendHeldLocked()
	if t.held == nil {
		batches.Put(b)
	}
	return err
}

// canReadAhead reports whether readAhead can be called: not if the socket's Read is
// not the connection's, which may do more.
func (t *transport) canReadAhead() bool {
	switch t.Conn.(type) {
	case *net.TCPConn, *net.UnixConn:
		return t.raw != nil
	}
	return false
}

// readAhead is Read by way of a buffer: it takes what is there.
func (t *transport) readAhead(b []byte) (n int, err error) {
	ahead := batches.Get().(*batch)
	if t.trying {
		n, err = t.tryRead(ahead.text[:])
	} else {
		n, err = t.Conn.Read(ahead.text[:])
	}
	if n == 0 {
		batches.Put(ahead)
		return 0, err
	}
	ahead.from, ahead.to = 0, n
	t.ahead = ahead
	return t.deliver(b), nil
}

// deliver returns what has been read ahead, one record at a time: TLS keeps a
// buffer as large as what it gets at once.
func (t *transport) deliver(b []byte) int {
	a := t.ahead
	text := a.text[a.from:a.to]
	n := copy(b, text[:min(len(text), t.frame.next(text))])
	t.frame.pass(b[:n])
	if a.from += n; a.from == a.to {
		batches.Put(a)
		t.ahead = nil
	}
	return n
}
