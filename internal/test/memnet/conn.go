// Package memnet is a buffered network in memory, for tests on fake time. It knows
// nothing of what it carries.
//
// [Pair] connects two ends directly; [Listen] gives a listener whose
// DialContext suits [net/http.Transport]. The connections behave as TCP over
// loopback does on Linux, down to the text of the errors, except where TCP
// leaves it to chance what a test sees: the first Write after the peer closed
// fails already, unread data does not turn Close into a reset, and a reset drops
// what is buffered and shows in every later call, not just in the first.
//
// Every wait is durably blocking in a [testing/synctest] bubble, and crypto/tls
// and net/http work over it there, which they do not over [net.Pipe]. What is
// created in a bubble must be used in that bubble only. The package starts no
// goroutines, adds no latency and loses no data.
package memnet

import (
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// bufferSize is how much each direction holds before Write waits.
	bufferSize = 256 << 10

	chunkSize = 16 << 10
)

var (
	errReadReset  = os.NewSyscallError("read", syscall.ECONNRESET)
	errWriteReset = os.NewSyscallError("write", syscall.ECONNRESET)
	errBrokenPipe = os.NewSyscallError("write", syscall.EPIPE)
)

// Addr is the address of a TCP endpoint, as "ip:port".
type Addr string

// Network returns "tcp".
func (Addr) Network() string { return "tcp" }

// String returns the address as it is.
func (a Addr) String() string { return string(a) }

// Conn is one end of a connection. It implements [net.Conn]; all its methods
// may be called at the same time. Its errors, except io.EOF, are *net.OpError.
type Conn struct {
	local, remote net.Addr
	in, out       *stream
	closed        atomic.Bool
}

// Pair returns the two ends of a new connection. Each direction buffers up to
// 256 KiB.
func Pair(clientAddr, serverAddr net.Addr) (client, server *Conn) {
	up, down := newStream(), newStream()
	client = &Conn{local: clientAddr, remote: serverAddr, in: down, out: up}
	server = &Conn{local: serverAddr, remote: clientAddr, in: up, out: down}
	return client, server
}

// Read waits for data from the peer. It returns io.EOF when the peer has closed
// and everything it wrote has been read.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.in.read(p)
	if err != nil && err != io.EOF {
		err = c.opError("read", err)
	}
	return n, err
}

// Write waits until all of p is in the buffer. Concurrent Writes do not mix.
// When the peer has closed, or CloseWrite was called, the error wraps
// syscall.EPIPE.
func (c *Conn) Write(p []byte) (int, error) {
	n, err := c.out.write(p)
	if err != nil {
		err = c.opError("write", err)
	}
	return n, err
}

// Close closes both directions. The peer can still read what was written. A
// second Close returns an error that wraps net.ErrClosed.
func (c *Conn) Close() error {
	if c.closed.Swap(true) {
		return c.opError("close", net.ErrClosed)
	}
	c.in.end(net.ErrClosed, errBrokenPipe)
	c.out.end(nil, net.ErrClosed)
	return nil
}

// CloseWrite ends the direction to the peer, which reads what was written and
// then io.EOF. Reading goes on.
func (c *Conn) CloseWrite() error {
	if c.closed.Load() {
		return c.opError("close", net.ErrClosed)
	}
	c.out.end(nil, errBrokenPipe)
	return nil
}

// Reset closes the connection as a TCP RST does: what is buffered is lost, and
// the peer's pending and future calls fail with syscall.ECONNRESET. It may
// follow Close.
func (c *Conn) Reset() {
	c.closed.Store(true)
	c.in.end(net.ErrClosed, errWriteReset)
	c.out.end(errReadReset, net.ErrClosed)
}

// LocalAddr returns the address of this end.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the address of the peer.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline sets both deadlines, as [net.Conn] says.
func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline sets the deadline for pending and future Reads. The zero time
// means none.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setDeadline(&c.in.reader, t) }

// SetWriteDeadline sets the deadline for pending and future Writes. The zero
// time means none.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setDeadline(&c.out.writer, t) }

func (c *Conn) setDeadline(s *side, t time.Time) error {
	if err := s.setDeadline(t); err != nil {
		return &net.OpError{Op: "set", Net: c.local.Network(), Addr: c.local, Err: err}
	}
	return nil
}

func (c *Conn) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: c.local.Network(), Source: c.local, Addr: c.remote, Err: err}
}

// A stream is one direction of a connection.
type stream struct {
	mu      sync.Mutex // guards everything below; both sides wait on it
	buf     buffer
	eof     bool // nothing more will be written
	writing bool // a Write is under way and others wait for their turn
	reader  side
	writer  side
}

// A side is what the reader or the writer of a stream waits for.
type side struct {
	cond    sync.Cond
	err     error // what its calls return from now on
	timer   *time.Timer
	expired bool // the deadline has passed
}

func newStream() *stream {
	s := new(stream)
	s.reader.cond.L = &s.mu
	s.writer.cond.L = &s.mu
	return s
}

func (s *stream) read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if err := s.reader.errLocked(); err != nil {
			return 0, err
		}
		if s.buf.size > 0 || len(p) == 0 {
			s.writer.cond.Broadcast()
			return s.buf.read(p), nil
		}
		if s.eof {
			return 0, io.EOF
		}
		s.reader.cond.Wait()
	}
}

func (s *stream) write(p []byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// Not a second mutex: waiting for one is not durably blocking.
	for s.writing {
		s.writer.cond.Wait()
	}
	s.writing = true
	defer func() {
		s.writing = false
		s.writer.cond.Broadcast()
	}()
	for {
		if err := s.writer.errLocked(); err != nil {
			return n, err
		}
		room := min(len(p)-n, bufferSize-s.buf.size)
		s.buf.write(p[n : n+room])
		n += room
		s.reader.cond.Broadcast()
		if n == len(p) {
			return n, nil
		}
		s.writer.cond.Wait()
	}
}

// end lets nothing more be written. The errors are what the reader and the
// writer get from now on; a reader without one gets the rest and then io.EOF.
func (s *stream) end(readerErr, writerErr error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.eof = true
	if readerErr != nil {
		s.buf = buffer{}
		s.reader.failLocked(readerErr)
	}
	s.reader.cond.Broadcast()
	s.writer.failLocked(writerErr)
	s.writer.cond.Broadcast()
}

// failLocked does not replace net.ErrClosed: a side that has closed does not
// learn what its peer does later.
func (s *side) failLocked(err error) {
	if s.err == net.ErrClosed {
		return
	}
	s.err = err
	if err == net.ErrClosed && s.timer != nil {
		s.timer.Stop()
	}
}

func (s *side) errLocked() error {
	if s.err == nil && s.expired {
		return os.ErrDeadlineExceeded
	}
	return s.err
}

func (s *side) setDeadline(t time.Time) error {
	s.cond.L.Lock()
	defer s.cond.L.Unlock()
	if s.err == net.ErrClosed {
		return s.err
	}
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	left := time.Until(t)
	s.expired = !t.IsZero() && left <= 0
	if left > 0 {
		var timer *time.Timer
		timer = time.AfterFunc(left, func() {
			s.cond.L.Lock()
			defer s.cond.L.Unlock()
			// Stop comes too late for a timer that waits for the lock.
			if s.timer == timer {
				s.expired = true
				s.cond.Broadcast()
			}
		})
		s.timer = timer
	}
	s.cond.Broadcast()
	return nil
}

var chunks = sync.Pool{New: func() any { return new([chunkSize]byte) }}

// A buffer is a queue of bytes in chunks from a common pool. An empty one holds
// none, so idle connections cost little.
type buffer struct {
	chunks []*[chunkSize]byte
	start  int // of the data in the first chunk
	size   int
}

func (b *buffer) write(p []byte) {
	for len(p) > 0 {
		end := b.start + b.size
		if end == len(b.chunks)*chunkSize {
			b.chunks = append(b.chunks, chunks.Get().(*[chunkSize]byte))
		}
		n := copy(b.chunks[end/chunkSize][end%chunkSize:], p)
		b.size += n
		p = p[n:]
	}
}

func (b *buffer) read(p []byte) (n int) {
	for n < len(p) && b.size > 0 {
		m := copy(p[n:], b.chunks[0][b.start:min(b.start+b.size, chunkSize)])
		n += m
		b.start += m
		b.size -= m
		if b.start == chunkSize || b.size == 0 {
			chunks.Put(b.chunks[0])
			b.chunks = slices.Delete(b.chunks, 0, 1)
			b.start = 0
		}
	}
	return n
}
