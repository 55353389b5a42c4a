package cloudsqltest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"syscall"

	"github.com/cloudsqlconn/cloudsqlconn"
)

func listenTCP(addr string) (net.Listener, error) { return net.Listen("tcp", addr) }

// claim keeps an address for an instance, among all processes, while it is
// stopped, too. UDP is free for that.
func claim(addr string) (net.PacketConn, error) { return net.ListenPacket("udp", addr) }

// on3307 opens port 3307 of all the addresses, or of none. It takes over those
// that are open.
func on3307[T io.Closer](addrs map[cloudsqlconn.IPType]string, have map[string]T, open func(addr string) (T, error)) (map[string]T, error) {
	all := map[string]T{}
	for _, host := range addrs {
		if _, twice := all[host]; twice || net.ParseIP(host) == nil {
			continue // the name for PSC is nothing to listen at
		}
		one, ok := have[host]
		if !ok {
			var err error
			if one, err = open(net.JoinHostPort(host, "3307")); err != nil {
				closeExcept(all, have)
				return nil, fmt.Errorf("ListenOn3307: %w", err)
			}
		}
		all[host] = one
	}
	return all, nil
}

// closeExcept closes those that are not kept.
func closeExcept[T io.Closer](all, keep map[string]T) {
	for host, one := range all {
		if _, ok := keep[host]; !ok {
			_ = one.Close()
		}
	}
}

// maxTries is how many pairs of addresses are tried for a free port 3307.
const maxTries = 10_000

// findFree3307 listens at default addresses whose port 3307 is free.
func (p *EmulatedInstance) findFree3307() map[string]net.Listener {
	switch {
	case runtime.GOOS != "linux":
		panic("cloudsqltest: ListenOn3307 needs Linux: elsewhere 127.0.0.0/8 is not there by itself")
	case p.server.inMemory:
		panic("cloudsqltest: ListenOn3307 needs a NewServer: a NewMemoryServer has no ports")
	case p.cfg.Addrs != nil:
		panic("cloudsqltest: ListenOn3307 takes default addresses: Addrs must be nil")
	}
	for range maxTries {
		claims, err := on3307(p.addrs, nil, claim)
		if err == nil {
			var listeners map[string]net.Listener
			if listeners, err = on3307(p.addrs, nil, listenTCP); err == nil {
				p.claims = claims
				return listeners
			}
			closeExcept(claims, nil)
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			panic("cloudsqltest: " + err.Error())
		}
		p.addrs = p.server.nextAddrs()
	}
	panic(fmt.Sprintf("cloudsqltest: ListenOn3307: port 3307 is taken on %d loopback addresses; does something listen on all of them?", maxTries))
}

// move3307Locked leaves port 3307 of the old addresses for that of the new.
func (p *EmulatedInstance) move3307Locked(addrs map[cloudsqlconn.IPType]string) {
	claims := must(on3307(addrs, p.claims, claim))
	if !p.run.stopped {
		before := p.run.listeners
		listeners, err := on3307(addrs, before, listenTCP)
		if err != nil {
			closeExcept(claims, p.claims)
			panic("cloudsqltest: " + err.Error())
		}
		p.run.listeners = listeners
		for host, l := range listeners {
			if before[host] == nil {
				p.acceptLocked(l)
			}
		}
		closeExcept(before, listeners)
	}
	closeExcept(p.claims, claims)
	p.claims = claims
}
