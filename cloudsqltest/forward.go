package cloudsqltest

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
)

// forward joins c to the backend until both have ended, one has failed, or ctx
// has. The error is that of connecting.
func (p *Proxy) forward(ctx context.Context, c net.Conn, addr string) error {
	network := "tcp"
	if isSocket(addr) {
		network = "unix"
	}
	socket, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return err
	}
	defer socket.Close()
	// When c is cut, a copy that waits for the backend does not notice.
	defer context.AfterFunc(ctx, func() { _ = socket.Close() })()
	backend := socket
	if tunnel, ok := c.(*Conn); ok && tunnel.exchange != nil && network == "tcp" && strings.HasPrefix(p.cfg.DatabaseVersion, "MYSQL") {
		if backend, err = meetMySQL(ctx, tunnel, socket); backend == nil || err != nil {
			return err
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() { copyHalf(backend, c) })
	copyHalf(c, backend)
	wg.Wait()
	return nil
}

// copyHalf copies until src ends, and passes the end on. After an error
// neither direction has a future.
func copyHalf(dst, src net.Conn) {
	if _, err := io.Copy(dst, src); err != nil {
		_ = dst.Close()
		_ = src.Close()
		return
	}
	closeWrite(dst)
}

// closeWrite ends one direction of a connection, where that can be done.
func closeWrite(c net.Conn) {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
		return
	}
	_ = c.Close()
}
