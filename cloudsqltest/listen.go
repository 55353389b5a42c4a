package cloudsqltest

import (
	"errors"
	"fmt"
	"net"
	"runtime"
	"syscall"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/internal/memnet"
)

// listen opens what the instance listens at, except for what is open already.
// Unless that are its real addresses, one listener stands behind all of them.
func (p *Proxy) listen(open map[string]net.Listener) map[string]net.Listener {
	switch {
	case p.cfg.ListenOn3307:
		return must(listenOn3307(p.addrs, open))
	case p.server.inMemory:
		return map[string]net.Listener{"": memnet.Listen(p.name.Instance() + ".test:3307")}
	}
	return map[string]net.Listener{"": must(net.Listen("tcp", "127.0.0.1:0"))}
}

// relistenLocked listens at new addresses instead of the old.
func (p *Proxy) relistenLocked(old map[cloudsqlconn.IPType]string) {
	before := p.run.listeners
	defer func() {
		if p.run.listeners == nil { // panics
			p.addrs, p.run.listeners = old, before
		}
	}()
	p.run.listeners = nil
	p.run.listeners = p.listen(before)
	for host, l := range before {
		if p.run.listeners[host] == nil {
			_ = l.Close()
		}
	}
	for host, l := range p.run.listeners {
		if before[host] == nil {
			p.acceptLocked(l)
		}
	}
}

// maxTries is how many pairs of addresses are tried for a free port 3307.
const maxTries = 10_000

// listenOnFree3307 finds default addresses whose port 3307 is free.
func (p *Proxy) listenOnFree3307() {
	switch {
	case runtime.GOOS != "linux":
		panic("cloudsqltest: ListenOn3307 needs Linux: elsewhere 127.0.0.0/8 is not there by itself")
	case p.server.inMemory:
		panic("cloudsqltest: ListenOn3307 needs a NewServer: on a NewMemoryServer nothing listens on ports")
	case p.cfg.Addrs != nil:
		panic("cloudsqltest: ListenOn3307 takes default addresses: Addrs must be nil")
	}
	for range maxTries {
		listeners, err := listenOn3307(p.addrs, nil)
		if err == nil {
			p.run = &run{listeners: listeners}
			return
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			must(0, err)
		}
		p.addrs = p.server.nextAddrs()
	}
	panic(fmt.Sprintf("cloudsqltest: ListenOn3307: port 3307 is taken on %d loopback addresses; does something listen on all of them?", maxTries))
}

// listenOn3307 listens at all the addresses, or at none. It takes over those
// that are open.
func listenOn3307(addrs map[cloudsqlconn.IPType]string, open map[string]net.Listener) (map[string]net.Listener, error) {
	listeners := map[string]net.Listener{}
	for _, host := range addrs {
		if open[host] != nil {
			listeners[host] = open[host]
			continue
		}
		l, err := net.Listen("tcp", net.JoinHostPort(host, "3307"))
		if err != nil {
			for host, l := range listeners {
				if open[host] == nil {
					_ = l.Close()
				}
			}
			return nil, fmt.Errorf("ListenOn3307: %w", err)
		}
		listeners[host] = l
	}
	return listeners, nil
}
