package faults_test

import (
	"context"
	"net"
	"slices"
	"testing"

	"golang.org/x/net/nettest"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// What Dial returns does what net.Conn promises. It did not: after 1 MiB that
// was written, and a Close without a Read, the server missed the end, since
// session tickets that nobody had read made of Close a reset; and as with
// crypto/tls, a Write that had met its deadline was the last.
func TestConnectionsKeepThePromisesOfNet(t *testing.T) {
	t.Parallel()
	for name, newServer := range map[string]func() *cloudsqltest.Server{
		"sockets": cloudsqltest.NewServer,
		"memory":  cloudsqltest.NewMemoryServer,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nettest.TestConn(t, ends(newServer))
		})
	}
}

// Through a proxy to which the connection runs in TLS, too.
func TestConnectionsInTLSInTLSKeepThePromisesOfNet(t *testing.T) {
	t.Parallel()
	proxyCertificate()
	nettest.TestConn(t, func() (client, server net.Conn, stop func(), err error) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, nil, nil, err
		}
		p := &testProxy{kind: "https"}
		newServer := func() *cloudsqltest.Server {
			s := cloudsqltest.NewServer()
			p.out = s.DialContext
			p.start(l)
			return s
		}
		client, server, end, err := ends(newServer, cloudsqlconn.WithProxy(p.kind+"://"+l.Addr().String()), cloudsqlconn.WithDialFunc(new(net.Dialer).DialContext))()
		return client, server, func() { end(); p.stop() }, err
	})
}

// ends returns how to make both ends of a connection to an instance.
func ends(newServer func() *cloudsqltest.Server, opts ...cloudsqlconn.Option) nettest.MakePipe {
	return func() (client, server net.Conn, stop func(), err error) {
		s := newServer()
		accepted, over := make(chan net.Conn, 1), make(chan struct{})
		s.AddInstance(testInstance, cloudsqltest.Instance{Handler: func(c net.Conn) {
			accepted <- c
			<-over
		}})
		d, err := cloudsqlconn.NewDialer(context.Background(), slices.Concat(s.Options(), opts)...)
		if err != nil {
			return nil, nil, nil, err
		}
		client, err = d.Dial(context.Background(), testInstance)
		if err != nil {
			return nil, nil, nil, err
		}
		server = <-accepted
		return client, quietEnd{server}, func() {
			_ = client.Close()
			_ = server.Close()
			close(over)
			_ = d.Close()
			s.Close()
		}, nil
	}
}

// quietEnd is crypto/tls without its error for having closed last, when there is
// nobody to tell.
type quietEnd struct{ net.Conn }

func (c quietEnd) Close() error {
	_ = c.Conn.Close()
	return nil
}
