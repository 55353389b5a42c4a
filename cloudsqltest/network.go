package cloudsqltest

import (
	"context"
	"fmt"
	"net"
	"syscall"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/internal/dns"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/memnet"
)

// DialContext is the emulated network: it connects to the instance that has the
// address addr, whatever the port, or to SQL Data at its own address and at
// sqladmin.googleapis.com:443. No real port 3307 is needed.
func (s *Server) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, dialError(network, addr, err)
	}
	host = dns.Key(host)
	s.mu.Lock()
	p := s.routes[host]
	d := s.sqlData
	moved := p != nil && !p.hasAddrLocked(host)
	_, lost := s.swallowed[host]
	if lost {
		s.swallowed[host]++
	}
	s.mu.Unlock()
	switch {
	case lost:
		if p != nil {
			p.count(&p.counts.Swallowed)
		}
		return s.noAnswer(ctx, network, addr)
	case d != nil && d.isAt(addr):
		return d.dial(ctx, network, addr)
	case moved:
		p.count(&p.counts.Refused)
		fallthrough
	case p == nil:
		return nil, dialError(network, addr, syscall.ECONNREFUSED)
	}
	return p.dial(ctx, network, addr)
}

// noAnswer is a dial whose SYNs are lost.
func (s *Server) noAnswer(ctx context.Context, network, addr string) (net.Conn, error) {
	select {
	case <-ctx.Done():
		return nil, dialError(network, addr, ctx.Err())
	case <-s.closing:
		return nil, dialError(network, addr, syscall.ECONNREFUSED)
	}
}

func dialError(network, addr string, err error) error {
	return &net.OpError{Op: "dial", Net: network, Addr: memnet.Addr(addr), Err: err}
}

// Swallow makes an address answer nothing, as if a firewall dropped the packets:
// connecting to it through [Server.DialContext] hangs until the caller gives up.
// Connections stay open. See also [Unreachable].
func (s *Server) Swallow(host string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.swallowed[dns.Key(host)] += 0
}

// Restore undoes Swallow and returns how many connections were lost. A dial
// that is already waiting keeps waiting.
func (s *Server) Restore(host string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.swallowed[dns.Key(host)]
	delete(s.swallowed, dns.Key(host))
	return n
}

// routeLocked makes the instance's addresses lead to it, and to none that had
// them before. The others that it had still lead to it, to be refused there.
func (s *Server) routeLocked(p *EmulatedInstance) {
	for _, host := range p.addrs {
		s.routes[dns.Key(host)] = p
	}
}

// hasAddrLocked reports whether the instance is at that address now. The
// caller holds Server.mu.
func (p *EmulatedInstance) hasAddrLocked(host string) bool {
	for _, h := range p.addrs {
		if dns.Key(h) == host {
			return true
		}
	}
	return false
}

// nextAddrs returns a public and a private address that no other instance of
// this server has. They are loopback addresses, so that a client which
// ignores [Server.DialContext] does not leave the machine.
func (s *Server) nextAddrs() map[cloudsqlconn.IPType]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		s.lastAddr++
		n := s.lastAddr
		public, private := fmt.Sprintf("127.1.%d.%d", n/250, n%250+1), fmt.Sprintf("127.2.%d.%d", n/250, n%250+1)
		if s.routes[public] == nil && s.routes[private] == nil {
			return map[cloudsqlconn.IPType]string{cloudsqlconn.PublicIP: public, cloudsqlconn.PrivateIP: private}
		}
	}
}

// listen opens a listener on a free port, or one of that name in memory.
func (s *Server) listen(name string) net.Listener {
	if s.inMemory {
		return memnet.Listen(name)
	}
	return must(listenTCP("127.0.0.1:0"))
}
