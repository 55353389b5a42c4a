package sqldata_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata/wire"
)

// A server that is not trusted, has another name, or does not speak HTTP/2 gets no
// token.
func TestTLS(t *testing.T) {
	t.Parallel()
	site := httptest.NewUnstartedServer(http.NotFoundHandler()) // for its certificate
	site.StartTLS()
	defer site.Close()
	roots := x509.NewCertPool()
	roots.AddCert(site.Certificate())

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.ForceServerCodecV2(wire.Codec), grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: site.TLS.Certificates})))
	desc := wire.Desc
	desc.Handler = func(_ any, s grpc.ServerStream) error { return echo(stream{s}) }
	server.RegisterService(&grpc.ServiceDesc{ServiceName: wire.Service, Streams: []grpc.StreamDesc{desc}}, nil)
	go func() { _ = server.Serve(l) }()
	defer server.Stop()

	trusting := &tls.Config{RootCAs: roots}
	for name, tt := range map[string]struct {
		host, addr string
		config     *tls.Config
		want       string
	}{
		"good":       {"example.com", l.Addr().String(), trusting, ""},
		"untrusted":  {"example.com", l.Addr().String(), nil, "unknown authority"},
		"other name": {"example.org", l.Addr().String(), trusting, "example.org"},
		"HTTP/1.1":   {"example.com", site.Listener.Addr().String(), trusting, "application protocol"},
	} {
		t.Run(name, func(t *testing.T) {
			client := sqldata.New(sqldata.Config{
				Endpoint:    sqldata.Endpoint{Host: tt.host, Port: "443"},
				TLS:         tt.config,
				Credentials: func(context.Context) (sqldata.Credentials, error) { return sqldata.Credentials{Token: "token"}, nil },
			})
			defer client.Close()
			route := &sqldata.Route{Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, tt.addr)
			}}
			c, err := client.Open(t.Context(), session, route)
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v, want %q", err, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			write(t, c, "hello")
			wantRead(t, c, "hello")
		})
	}
}
