package main

import (
	"net"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"
)

const (
	// burst is how many connections leave so much behind that it pays to look for
	// it: some tens of KiB each.
	burst = 100

	// quiet is how long no connection comes after a burst.
	quiet = time.Second
)

// trimming is a listener that gives memory back to the system after bursts of
// connections. The runtime would hold it for minutes.
type trimming struct {
	net.Listener
	timer    *time.Timer // fires when it has been quiet
	accepted atomic.Int64
}

// trim returns l with free called after bursts.
func trim(l net.Listener, free func()) *trimming {
	t := &trimming{Listener: l}
	t.timer = time.AfterFunc(quiet, func() {
		if t.accepted.Load() >= burst {
			t.accepted.Store(0)
			free()
		}
	})
	return t
}

func (t *trimming) Accept() (net.Conn, error) {
	c, err := t.Listener.Accept()
	if err == nil {
		t.accepted.Add(1)
		t.timer.Reset(quiet)
	}
	return c, err
}

func (t *trimming) Close() error {
	t.timer.Stop()
	return t.Listener.Close()
}

// freeMemory collects twice: once is not enough for pools of buffers.
func freeMemory() {
	runtime.GC()
	debug.FreeOSMemory()
}
