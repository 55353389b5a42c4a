package cloudsqltest

import (
	"context"
	"net"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/internal/dns"
)

// DNSServer is a real DNS server, on a port of 127.0.0.1, over UDP and TCP. It
// serves the records of a [DNS] and follows aliases, as a recursive server does.
// Answers that are too long for UDP come over TCP.
type DNSServer struct{ server *dns.Server }

// DNSServerCounts is what has happened at a [DNSServer].
type DNSServerCounts struct {
	Truncated int // answers that were too long for UDP
	TCP       int // questions over TCP
}

// Listen starts a server on a free port. The caller should call Close on it when
// finished.
func (d *DNS) Listen() *DNSServer {
	return &DNSServer{dns.NewServer(func(ctx context.Context, name, questionType string) (dns.Answer, bool) {
		return d.ask(ctx, name, DNSType(questionType))
	})}
}

// Addr returns the address, host:port.
func (s *DNSServer) Addr() string { return s.server.Addr() }

// Resolver returns a resolver that asks this server and no other.
func (s *DNSServer) Resolver() *net.Resolver {
	return &net.Resolver{
		PreferGo: true,
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, s.Addr())
		},
	}
}

// Counts returns what has happened so far.
func (s *DNSServer) Counts() DNSServerCounts { return DNSServerCounts(s.server.Counts()) }

// Close stops the server and returns when everything that it started has ended.
// Pending questions get no answer. It can be called again.
func (s *DNSServer) Close() { s.server.Close() }
