package e2e

import (
	"crypto/tls"
	"fmt"
	"net"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// Every address type with every way to refresh and every form of server
// certificate.
func TestEveryWayToReachAnInstance(t *testing.T) {
	eachEngine(t, func(t *testing.T, e *engine) {
		for _, address := range []struct {
			ipType cloudsqlconn.IPType
			option cloudsqlconn.DialOption
		}{
			{cloudsqlconn.PublicIP, cloudsqlconn.WithPublicIP()},
			{cloudsqlconn.PrivateIP, cloudsqlconn.WithPrivateIP()},
		} {
			for _, refresh := range []struct {
				name   string
				option cloudsqlconn.Option
			}{
				{"ahead", cloudsqlconn.Options()},
				{"lazy", cloudsqlconn.WithLazyRefresh()},
			} {
				for _, ca := range []cloudsqltest.CAMode{cloudsqltest.LegacyCA, cloudsqltest.GoogleCAS} {
					t.Run(fmt.Sprint(address.ipType, "/", refresh.name, "/", ca), func(t *testing.T) {
						i := e.newInstanceOf(t, e.sharedServer(t), cloudsqltest.Instance{CAMode: ca}, refresh.option)
						wantAnswer(t, i.open(t, app, address.option))
						wantAnswer(t, i.open(t, iam, address.option, cloudsqlconn.WithIAMAuthN(true)))
						wantDialled(t, i, i.emulated.Addrs()[address.ipType])
						wantCertificateOf(t, i, ca)
					})
				}
			}
		}
	})
}

// wantDialled checks that nothing but this address was dialled.
func wantDialled(t *testing.T, i *instance, host string) {
	t.Helper()
	addrs, _ := i.network.dialled()
	if len(addrs) == 0 {
		t.Error("nothing was dialled")
	}
	for _, addr := range addrs {
		if want := net.JoinHostPort(host, "3307"); addr != want {
			t.Errorf("dialled %s, want %s", addr, want)
		}
	}
}

// wantCertificateOf checks the form of the server's certificate.
func wantCertificateOf(t *testing.T, i *instance, ca cloudsqltest.CAMode) {
	t.Helper()
	c, err := i.dialer.Dial(t.Context(), instanceName)
	wantNil(t, err)
	defer c.Close()
	leaf := c.(interface{ ConnectionState() tls.ConnectionState }).ConnectionState().PeerCertificates[0]
	want := map[cloudsqltest.CAMode]string{cloudsqltest.LegacyCA: "my-project:my-db", cloudsqltest.GoogleCAS: ""}[ca]
	if got := leaf.Subject.CommonName; got != want {
		t.Errorf("the server's certificate has the common name %q, want %q", got, want)
	}
}
