package faults_test

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/memnet"
)

var onlyPublic = addrs{cloudsqlconn.PublicIP: publicAddr}

var handshakeFailures = []failure{
	{name: "silence", cfg: cloudsqltest.Instance{Addrs: onlyPublic}, before: func(w *world) { w.instance.SetBehavior(cloudsqltest.Silent) }},
	{name: "the connection ends at once", cfg: cloudsqltest.Instance{Addrs: onlyPublic}, dial: dialOptions{cloudsqlconn.WithDialFunc(breaking(io.EOF))}},
	{name: "the connection is reset", cfg: cloudsqltest.Instance{Addrs: onlyPublic}, dial: dialOptions{cloudsqlconn.WithDialFunc(breaking(&net.OpError{
		Op: "read", Net: "tcp", Source: memnet.Addr("10.9.8.7:50000"), Addr: memnet.Addr(publicAddr + ":3307"), Err: os.NewSyscallError("read", syscall.ECONNRESET),
	}))}},
	{name: "the server does not speak TLS", cfg: cloudsqltest.Instance{Addrs: onlyPublic}, dial: dialOptions{
		cloudsqlconn.WithDialFunc(func(context.Context, string, string) (net.Conn, error) {
			client, server := net.Pipe()
			go func() { // ends with the client's side
				_, _ = io.CopyN(io.Discard, server, 1)
				go func() { _, _ = io.Copy(io.Discard, server) }()
				_, _ = io.WriteString(server, "HTTP/1.1 400 Bad Request\r\n\r\n")
			}()
			return client, nil
		}),
	}},
	{name: "the server of another instance, with a certificate of the old form", cfg: cloudsqltest.Instance{Addrs: onlyPublic, AlterServerCert: func(c *x509.Certificate) { c.Subject.CommonName = "my-project:other" }}},
	{name: "the server of another instance", cfg: cloudsqltest.Instance{
		Addrs: onlyPublic, CAMode: cloudsqltest.GoogleCAS, DNSNames: []string{"42cf.2imj.europe-west1.sql.goog."},
		AlterServerCert: func(c *x509.Certificate) { c.DNSNames = []string{"77ab.2imj.europe-west1.sql.goog."} },
	}},
	{name: "a DNS name that is not in the server certificate", cfg: cloudsqltest.Instance{Addrs: onlyPublic, CAMode: cloudsqltest.CustomerCAS, DNSNames: []string{"42cf.2imj.europe-west1.sql.goog."}}, fail: func(w *world) error {
		dns := cloudsqltest.NewDNS()
		dns.SetTXT("db.example.com", testInstance)
		_ = w.dialer.Close()
		w.dialer = w.newDialer(cloudsqlconn.WithDNSResolver(dns))
		_, err := w.dialer.Dial(context.Background(), "db.example.com")
		return err
	}},
	{name: "a server with another CA", cfg: cloudsqltest.Instance{Addrs: onlyPublic}, before: func(w *world) {
		w.AddInstance(otherInstance, cloudsqltest.Instance{Addrs: onlyPublic}) // takes the address
	}},
	{name: "server certificate that has expired", cfg: cloudsqltest.Instance{Addrs: onlyPublic, AlterServerCert: func(c *x509.Certificate) { c.NotAfter = c.NotBefore.Add(time.Minute) }}},
	{name: "server certificate of a shared CA that has expired", cfg: cloudsqltest.Instance{
		Addrs: onlyPublic, CAMode: cloudsqltest.GoogleCAS, DNSNames: []string{"42cf.2imj.europe-west1.sql.goog."}, AlterServerCert: func(c *x509.Certificate) { c.NotAfter = c.NotBefore.Add(time.Minute) },
	}},
	{name: "server certificate that is not valid yet, and a clock that is behind", before: clock(72 * time.Hour), cfg: cloudsqltest.Instance{
		Addrs: onlyPublic, AlterServerCert: func(c *x509.Certificate) { c.NotBefore = time.Date(2000, 1, 2, 0, 0, 0, 0, time.UTC) },
	}},
}

var readFailures = []failure{
	{name: "the client certificate is refused", fail: func(w *world) error {
		w.wantDial()
		w.instance.RotateClientCA()
		return w.dial(ample)
	}},
	{name: "the metadata exchange is refused", cfg: cloudsqltest.Instance{DatabaseVersion: "MYSQL_8_0", MetadataExchange: cloudsqltest.RefuseMetadata}, opts: []cloudsqlconn.Option{cloudsqlconn.WithMetadataExchange(true)}},
	{name: "the DNS name has moved to another instance", fail: func(w *world) error {
		dns := cloudsqltest.NewDNS()
		dns.SetTXT("db.example.com", testInstance)
		_ = w.dialer.Close()
		w.dialer = w.newDialer(cloudsqlconn.WithDNSResolver(dns))
		c, err := w.dialer.Dial(context.Background(), "db.example.com")
		if err != nil {
			return errors.New("the first Dial failed")
		}
		defer c.Close()
		dns.SetTXT("db.example.com", otherInstance)
		_, err = c.Read(make([]byte, 1))
		return err
	}},
}
