package netdial

import (
	"net"
	"syscall"
	"time"
)

const (
	// probes are sent in vain before the peer counts as dead.
	probes = 3

	// maxIdle is the most that Linux takes (MAX_TCP_KEEPIDLE).
	maxIdle = 32767 * time.Second
)

// KeepAlive makes a TCP connection notice a dead peer. After d without traffic,
// and every d from then on, a probe is sent; three without an answer break the
// connection, 4×d after the peer was last heard. Where the system can (Linux),
// data that stays unacknowledged for 4×d breaks it too. A negative d means
// neither. d is rounded up to seconds and is at most 32767 s. A connection that
// is not a socket is left alone.
func KeepAlive(conn net.Conn, d time.Duration) {
	socket, ok := conn.(interface {
		syscall.Conn
		SetKeepAliveConfig(net.KeepAliveConfig) error
	})
	if !ok {
		return
	}
	// An error means that the connection is dead; whoever uses it is told.
	if d < 0 {
		_ = socket.SetKeepAliveConfig(net.KeepAliveConfig{Idle: -1, Interval: -1, Count: -1})
		return
	}
	d = (min(max(d, time.Second), maxIdle) + time.Second - 1).Truncate(time.Second)
	_ = socket.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: d, Interval: d, Count: probes})
	setUserTimeout(socket, (probes+1)*d)
}
