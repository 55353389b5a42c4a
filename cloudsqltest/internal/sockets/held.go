package sockets

import (
	"errors"
	"io"
	"net"
)

// Held is a connection that holds back what is written to it until it is read
// from, so that the last message of a handshake can wait until the outcome is
// known.
type Held struct {
	net.Conn
	Stall func() // if not nil, it is called in place of the first answer, of which only the beginning goes out

	held     []byte
	released bool
}

// Write writes, sooner or later.
func (c *Held) Write(b []byte) (int, error) {
	if c.released {
		return c.Conn.Write(b)
	}
	c.held = append(c.held, b...)
	return len(b), nil
}

// Read writes what is held back, and reads.
func (c *Held) Read(b []byte) (int, error) {
	if err := c.flush(); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

func (c *Held) flush() error {
	if len(c.held) == 0 {
		return nil
	}
	b := c.held
	c.held = nil
	if c.Stall == nil {
		_, err := c.Conn.Write(b)
		return err
	}
	c.Stall()
	_, _ = c.Conn.Write(b[:min(len(b), 5)])
	_, err := io.Copy(io.Discard, c.Conn) // until the client gives up, or the connection is closed
	return errors.Join(io.ErrClosedPipe, err)
}

// Release holds nothing back from now on.
func (c *Held) Release() error {
	err := c.flush()
	c.released = true
	return err
}
