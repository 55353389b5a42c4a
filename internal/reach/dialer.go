package reach

import (
	"context"
	"net"
	"net/netip"
)

// Dialer opens TCP connections as a [net.Dialer] does, but of a name's
// addresses it tries one beside the other, and remembers those that do not
// answer. Its methods are safe for concurrent use.
type Dialer struct {
	net.Dialer
	memory Memory // by IP address
}

// DialContext connects to addr, a host and a port.
func (d *Dialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || isIP(host) {
		return d.Dialer.DialContext(ctx, network, addr)
	}
	resolver := d.Resolver
	if resolver == nil {
		resolver = net.DefaultResolver
	}
	ips, err := resolver.LookupHost(ctx, host)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	race := New(ctx, d.memory.Order(ips), func(ctx context.Context, ip string) (net.Conn, error) {
		return d.Dialer.DialContext(ctx, network, net.JoinHostPort(ip, port))
	})
	defer race.Stop()
	var first error
	for t, more := race.Next(); more; t, more = race.Next() {
		switch {
		case t.Err == nil:
			d.memory.Defer(Rest, race.Unanswered()...)
			d.memory.Good(t.Host)
			return t.Conn, nil
		case t.Silent:
			d.memory.Defer(Rest, t.Host)
		}
		if first == nil {
			first = t.Err
		}
	}
	return nil, first
}

func isIP(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}
