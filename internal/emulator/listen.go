package emulator

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
)

// listen refuses addresses off loopback unless they are allowed.
func listen(what, addr string, allowRemote bool) (net.Listener, error) {
	a, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", what, addr, err)
	}
	if !a.IP.IsLoopback() && !allowRemote {
		return nil, fmt.Errorf("%s %s is not on loopback: everybody who reaches it is let in; -allow-remote allows that", what, addr)
	}
	l, err := net.ListenTCP("tcp", a)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%s %s: %w; another emulator may be running; %s 127.0.0.1:0 takes any port that is free", what, addr, err, what)
	case err != nil:
		return nil, fmt.Errorf("%s %s: %w", what, addr, err)
	}
	return l, nil
}

// gate is a listener that accepts nothing until it is opened: clients that come
// while the emulator starts wait until everything is there.
type gate struct {
	net.Listener
	opened, closed chan struct{}
	once           sync.Once // for closed
}

func newGate(l net.Listener) *gate {
	return &gate{Listener: l, opened: make(chan struct{}), closed: make(chan struct{})}
}

func (g *gate) open() { close(g.opened) }

// Accept waits for open, or Close.
func (g *gate) Accept() (net.Conn, error) {
	select {
	case <-g.opened:
	case <-g.closed:
	}
	return g.Listener.Accept()
}

// Close closes the listener, too.
func (g *gate) Close() error {
	g.once.Do(func() { close(g.closed) })
	return g.Listener.Close()
}
