package sqldata

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata/wire"
)

// What Writes fail with that come after an end.
var (
	errEnded      = fmt.Errorf("the server has ended the connection: %w", io.ErrClosedPipe)
	errCloseWrite = fmt.Errorf("CloseWrite has been called: %w", io.ErrClosedPipe)
)

// Write writes to the database. Its error is a [*StatusError] if the stream has
// failed.
func (c *Conn) Write(b []byte) (n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.waitLocked(func() bool { return !c.writing }); err != nil {
		return 0, err
	}
	c.writing = true
	defer func() {
		c.writing = false
		c.writable.Broadcast()
	}()
	for len(b) > 0 {
		if err := c.waitLocked(func() bool { return c.roomLocked() && !c.broken }); err != nil {
			return n, err
		}
		k := c.addLocked(b)
		n, b = n+k, b[k:]
		c.sendLocked()
	}
	return n, nil
}

// roomLocked reports whether there is room in the next message.
func (c *Conn) roomLocked() bool { return c.next == nil || c.next.Data.Room() > 0 }

// addLocked adds a piece of b to the next message, which waits for the one that
// is being sent, or begins it. It returns how long the piece is: 0 if the end has
// been sent meanwhile.
func (c *Conn) addLocked(b []byte) int {
	if c.next != nil {
		return c.next.Data.Append(b)
	}
	c.mu.Unlock() // nobody else fills c.next
	m, n := wire.NewRequest(b)
	c.mu.Lock()
	if c.ended {
		return 0
	}
	c.next = m
	return n
}

// waitLocked waits until a Write may go on.
func (c *Conn) waitLocked(free func() bool) error {
	for {
		switch {
		case c.closed:
			return net.ErrClosed
		case c.writeBy.over():
			return os.ErrDeadlineExceeded
		case c.ended:
			return errCloseWrite
		case errors.Is(c.err, io.EOF):
			return errEnded
		case c.err != nil:
			return c.err
		case free():
			return nil
		}
		c.writable.Wait()
	}
}

// sendLocked has somebody send.
func (c *Conn) sendLocked() {
	if !c.sending && !c.broken {
		c.sending = true
		go c.send()
	}
}

// send sends until there is nothing more.
func (c *Conn) send() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		m := c.next
		switch {
		case m == nil && (!c.ended || c.sentEnd):
			c.sending = false
			return
		case m == nil:
			c.sentEnd = true
			c.mu.Unlock()
			_ = c.stream.CloseSend() // never fails
			c.mu.Lock()
			continue
		}
		c.next = nil
		c.writable.Broadcast()
		c.mu.Unlock()
		err := c.stream.SendMsg(m)
		c.mu.Lock()
		if err != nil {
			c.brokenLocked(err)
			return
		}
	}
}

// brokenLocked is told that sending has failed. The reason is what the stream
// ends with, behind all that has arrived and not been received.
func (c *Conn) brokenLocked(err error) {
	c.sending, c.next, c.broken = false, nil, true
	c.drained.Signal()
	if !errors.Is(err, io.EOF) && c.err == nil && !c.receiving {
		c.endLocked(streamError(err))
	}
	c.receiveLocked()
}

// CloseWrite tells the database that nothing more will be written, after what
// has been. Writes that wait fail.
func (c *Conn) CloseWrite() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.endWritesLocked()
	return nil
}

func (c *Conn) endWritesLocked() {
	c.ended = true
	c.writable.Broadcast()
	c.sendLocked()
}
