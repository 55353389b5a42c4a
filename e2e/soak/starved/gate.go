//go:build linux

package starved

import (
	"io"
	"net"
	"sync"
)

// gate stands before a server. While it is shut, nothing comes through, though
// connections stay open, as with a server that hangs or a link that is down.
type gate struct{ mu sync.RWMutex }

// before returns a handler of connections that go through the gate to another
// handler.
func (g *gate) before(handle func(net.Conn)) func(net.Conn) {
	return func(c net.Conn) { handle(gated{c, g}) }
}

type gated struct {
	net.Conn
	gate *gate
}

func (c gated) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.gate.pass()
	return n, err
}

func (c gated) Write(b []byte) (int, error) {
	c.gate.pass()
	return c.Conn.Write(b)
}

func (g *gate) pass() {
	g.mu.RLock()
	defer g.mu.RUnlock()
}

// echo is a handler.
func echo(c net.Conn) { _, _ = io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c}) }

// forward returns a handler that forwards connections to a database.
func forward(addr string) func(net.Conn) {
	return func(c net.Conn) {
		db, err := net.Dial("tcp", addr)
		if err != nil {
			return // the database restarts
		}
		var there sync.WaitGroup
		there.Go(func() {
			_, _ = io.Copy(struct{ io.Writer }{db}, struct{ io.Reader }{c})
			_ = db.Close()
		})
		_, _ = io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{db})
		_ = db.Close()
		_ = c.Close()
		there.Wait()
	}
}
