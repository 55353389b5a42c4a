package sockets

import (
	"io"
	"net"
	"sync/atomic"
	"time"
)

// BlackHole is a TCP connection on which nothing arrives any more, once it is
// open.
type BlackHole struct {
	net.Conn
	open atomic.Bool
}

// Open makes it one.
func (h *BlackHole) Open() { h.open.Store(true) }

// Read drops what comes.
func (h *BlackHole) Read(b []byte) (int, error) {
	for {
		n, err := h.Conn.Read(b)
		if err != nil || !h.open.Load() {
			return n, err
		}
	}
}

// Close leaves the connection there, without an end that the client could see.
func (h *BlackHole) Close() error {
	if h.open.Load() {
		return h.SetReadDeadline(time.Unix(1, 0)) // ends Read
	}
	return h.Conn.Close()
}

// Outlive returns when the client has given up, or the connection is cut.
func (h *BlackHole) Outlive() {
	if h.open.Load() {
		_ = h.SetReadDeadline(time.Time{})
		_, _ = io.Copy(io.Discard, h.Conn)
	}
}

// Write drops what goes.
func (h *BlackHole) Write(b []byte) (int, error) {
	if h.open.Load() {
		return len(b), nil
	}
	return h.Conn.Write(b)
}
