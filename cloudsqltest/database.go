package cloudsqltest

import (
	"context"
	"errors"
	"log"
	"log/slog"
	"net"
	"sync"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/internal/login"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/internal/sockets"
	"github.com/cloudsqlconn/cloudsqlconn/internal/engine"
)

// lead is the database's part of a connection. It reports whether there is a
// database.
func (p *EmulatedInstance) lead(l *link, c net.Conn, iam bool) bool {
	backend := p.cfg.Backend
	if iam && p.cfg.IAMBackend != "" {
		backend = p.cfg.IAMBackend
	}
	if backend == "" {
		p.now(l, "Handler has not returned")
		p.callHandler(c)
		return true
	}
	p.now(l, "forwarding to "+backend)
	err := p.forward(l.ctx, c, backend)
	if _, long := errors.AsType[*login.SizeError](err); long {
		p.warn(l, "login refused", err)
		return true
	}
	if err == nil || l.ctx.Err() != nil {
		return true
	}
	p.count(&p.counts.Unserved)
	p.warn(l, "backend unreachable", err)
	return false
}

// callHandler is the database of an instance without a backend.
func (p *EmulatedInstance) callHandler(c net.Conn) {
	if p.cfg.Handler != nil {
		p.cfg.Handler(c)
		return
	}
	p.echoes.Do(func() {
		const about = "this instance has neither Backend nor Handler: clients get back what they send; set Handler to Echo if that is meant"
		if p.server.Logger == nil {
			log.Printf("cloudsqltest: %s: %s", p.name, about)
		}
		p.log(slog.LevelWarn, about, nil)
	})
	Echo(c)
}

// forward joins c to the backend until both have ended, one has failed, or ctx
// has. The error is that of connecting.
func (p *EmulatedInstance) forward(ctx context.Context, c net.Conn, addr string) error {
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
	if tunnel, ok := c.(*Conn); ok && tunnel.exchange != nil && network == "tcp" && engine.Of(p.cfg.DatabaseVersion) == engine.MySQL {
		if backend, err = login.MeetMySQL(ctx, tunnel, tunnel.secure, socket); backend == nil || err != nil {
			return err
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() { sockets.Forward(backend, c) })
	sockets.Forward(c, backend)
	wg.Wait()
	return nil
}
