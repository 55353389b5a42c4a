package race

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
	hosts, fresh := d.memory.Order(ips)
	race := New(ctx, hosts, fresh, func(ctx context.Context, ip string) (net.Conn, error) {
		return d.Dialer.DialContext(ctx, network, net.JoinHostPort(ip, port))
	})
	race.Prompt = true
	defer race.Stop()
	err = &net.OpError{Op: "dial", Net: network, Err: ErrShareUsed} // should it be that of all
	failed := false
	for t, more := race.Next(); more; t, more = race.Next() {
		switch {
		case t.Err == nil:
			d.memory.Defer(Rest, race.Unanswered()...)
			d.memory.Good(t.Host)
			return t.Conn, nil
		case t.Silent && t.Took >= maxStagger:
			d.memory.Defer(Rest, t.Host)
		}
		if !failed && !t.Cut { // the first that says something
			err, failed = t.Err, true
		}
	}
	return nil, err
}

func isIP(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}
