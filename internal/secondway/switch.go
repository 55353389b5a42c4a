package secondway

import (
	"context"
	"fmt"
	"net"
)

// settle says that something has come over conn.
func (c *Conn) settle(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == asking && c.conn == conn {
		c.state, c.kept, c.way = settled, nil, Way{} // which may hold on to much
		c.readsDone.Store(true)
	}
}

// leads reports whether, after err of conn, a call is to be tried again: conn is
// the first, and is refused, or was closed since it is.
func (c *Conn) leads(conn net.Conn, err error) bool {
	if err == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return false
	case c.conn != conn, c.state == switching, c.err != nil:
		return true
	case c.state == settled || !c.way.Refused(err):
		return false
	}
	c.state, c.switched = switching, make(chan struct{})
	if failed := c.way.Go(func() { c.change(err) }); failed != nil {
		c.state, c.err = settled, fmt.Errorf("%w; another way cannot be taken any more: %w", err, failed)
		close(c.switched)
	}
	return true
}

// change puts the second connection in the place of the first, which is refused.
func (c *Conn) change(refusal error) {
	_ = c.Current().Close() // it has said why it is refused; a Write ends
	c.mu.Lock()
	idle := c.idle
	c.mu.Unlock()
	if idle != nil {
		<-idle
	}
	second, err := c.second(refusal) // there are no Writes any more
	for ended := false; !c.changed(second, ended, err); ended = true {
		err = closeWrite(second)
	}
	if second != nil && c.Current() != second {
		_ = second.Close()
	}
}

// second opens the second connection, if all that was written is kept.
func (c *Conn) second(refusal error) (net.Conn, error) {
	if c.written > Most {
		return nil, &TooMuchError{Written: c.written, Err: refusal}
	}
	return c.way.Open(c.ctx, c.kept)
}

// Send is for [Way.Open]: it writes what the first connection has taken to the second,
// or closes that. It ends with ctx, whose cause is its error then.
func Send(ctx context.Context, second net.Conn, written []byte) error {
	stop := context.AfterFunc(ctx, func() { _ = second.Close() })
	_, err := second.Write(written)
	switch {
	case !stop():
		return context.Cause(ctx)
	case err != nil:
		_ = second.Close()
	}
	return err
}

// changed ends the switch to the second connection, which has been told the end
// of Writes if ended is set. It reports false if it has to be told now.
func (c *Conn) changed(second net.Conn, ended bool, err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		c.err = net.ErrClosed
	case err != nil:
		c.err = err
	case c.ended && !ended:
		return false
	default:
		_ = second.SetReadDeadline(c.read.deadline)
		_ = second.SetWriteDeadline(c.write.deadline)
		c.conn = second
		c.readsDone.Store(true)
	}
	c.state, c.kept, c.way = settled, nil, Way{}
	close(c.switched)
	return true
}
