package cloudsqltest_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// form is what the certificates of one kind have in common.
func form(c *x509.Certificate) string {
	text := ""
	for _, name := range c.Subject.Names {
		text += fmt.Sprintf("%s=%v ", map[string]string{"2.5.4.6": "C", "2.5.4.10": "O", "2.5.4.3": "CN", "2.5.4.46": "dnQualifier"}[name.Type.String()], name.Value)
	}
	text += fmt.Sprintf("%q ", c.DNSNames)
	switch key := c.PublicKey.(type) {
	case *rsa.PublicKey:
		text += fmt.Sprint("RSA ", 8*key.Size())
	case *ecdsa.PublicKey:
		text += key.Params().Name
	}
	text += fmt.Sprintf(" %v, %d years", c.SignatureAlgorithm, int(c.NotAfter.Sub(c.NotBefore).Hours()/24/365))
	for _, property := range []struct {
		name string
		has  bool
	}{
		{"a CA", c.IsCA},
		{"path length 0", c.MaxPathLenZero},
		{"serial 0", c.SerialNumber.Sign() == 0},
		{"key usage", c.KeyUsage != 0},
		{"key identifiers", c.SubjectKeyId != nil || c.AuthorityKeyId != nil},
		{"for servers", slices.Equal(c.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth})},
	} {
		if property.has {
			text += ", " + property.name
		}
	}
	return random.ReplaceAllString(text, "…")
}

// random is what differs from one certificate to the next.
var random = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}|\b[0-9a-f]{12,}\b`)

// The forms are those of testdata/realdata.
func TestServerCertificatesHaveTheFormOfTheirMode(t *testing.T) {
	ofInstance := []string{
		`CN=my-project:my-db O=Google, Inc C=US ["1-….europe-west1.sql.goog"] RSA 2048 SHA256-RSA, 10 years`,
		`dnQualifier=… CN=Cloud SQL Server CA O=Google, Inc C=US [] RSA 2048 SHA256-RSA, 10 years, a CA, path length 0, serial 0`,
	}
	const ca = ", 10 years, a CA, key usage, key identifiers"
	for mode, want := range map[cloudsqltest.CAMode][]string{
		cloudsqltest.LegacyCA:      ofInstance,
		cloudsqltest.UnspecifiedCA: ofInstance,
		cloudsqltest.GoogleCAS: {
			`["….….europe-west1.sql.goog."] P-384 ECDSA-SHA384, 1 years, key usage, key identifiers, for servers`,
			`C=US O=Google, Inc CN=Google Cloud SQL Intermediate CA … [] P-384 ECDSA-SHA384` + ca,
			`C=US O=Google, Inc CN=Google Cloud SQL Root CA … [] P-384 ECDSA-SHA384` + ca,
		},
		cloudsqltest.CustomerCAS: {
			`["….….europe-west1.sql.goog."] RSA 2048 SHA256-RSAPSS, 1 years, key usage, key identifiers, for servers`,
			`C=US O=Google, Inc CN=Google Cloud SQL Intermediate CA … [] RSA 4096 SHA256-RSAPSS` + ca,
			`C=US O=Google, Inc CN=Google Cloud SQL Root CA … [] RSA 4096 SHA256-RSAPSS` + ca,
		},
	} {
		t.Run(string(mode), func(t *testing.T) {
			inMemory(t, cloudsqltest.Instance{CAMode: mode}, func(t *testing.T, c *client) {
				conn := c.mustConnect(c.config())
				defer conn.Close()
				state := conn.ConnectionState()
				var got []string
				for _, cert := range state.PeerCertificates {
					got = append(got, form(cert))
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("in the handshake (-want +got):\n%s", diff)
				}
				var anchors []string
				for _, cert := range parse(t, c.settings().ServerCaCert.Cert) {
					anchors = append(anchors, form(cert))
				}
				if diff := cmp.Diff(want[1:], anchors); diff != "" {
					t.Errorf("in the metadata (-want +got):\n%s", diff)
				}
				if state.Version != tls.VersionTLS13 || state.NegotiatedProtocol != "" {
					t.Errorf("got %s, ALPN %q", tls.VersionName(state.Version), state.NegotiatedProtocol)
				}
			})
		})
	}
}

func TestRootAnchorOnlyLeavesTheIntermediateToTheHandshake(t *testing.T) {
	for mode, chain := range map[cloudsqltest.CAMode]int{cloudsqltest.LegacyCA: 2, cloudsqltest.GoogleCAS: 3, cloudsqltest.CustomerCAS: 3} {
		t.Run(string(mode), func(t *testing.T) {
			inMemory(t, cloudsqltest.Instance{CAMode: mode, RootAnchorOnly: true}, func(t *testing.T, c *client) {
				conn := c.mustConnect(c.config())
				defer conn.Close()
				shown := conn.ConnectionState().PeerCertificates
				anchors := parse(t, c.settings().ServerCaCert.Cert)
				if len(shown) != chain || len(anchors) != 1 || !anchors[0].Equal(shown[chain-1]) {
					t.Errorf("%d certificates in the handshake, %d in the metadata, want %d and its root", len(shown), len(anchors), chain)
				}
			})
		})
	}
}

func TestRotationTakesAnotherKey(t *testing.T) {
	for _, mode := range []cloudsqltest.CAMode{cloudsqltest.LegacyCA, cloudsqltest.GoogleCAS, cloudsqltest.CustomerCAS} {
		t.Run(string(mode), func(t *testing.T) {
			inMemory(t, cloudsqltest.Instance{CAMode: mode}, func(t *testing.T, c *client) {
				before := parse(t, c.settings().ServerCaCert.Cert)
				c.p.RotateServerCA()
				for i, after := range parse(t, c.settings().ServerCaCert.Cert) {
					key := after.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
					if key.Equal(before[i].PublicKey) || bytes.Equal(after.RawSubject, before[i].RawSubject) {
						t.Errorf("certificate %d of the bundle has the name or the key of the one before", i)
					}
				}
				defer c.mustConnect(c.config()).Close()
			})
		})
	}
}

// Names that were asked for take the place of the one that no metadata has.
func TestNamesOfAnInstanceWithItsOwnCA(t *testing.T) {
	const psc = "a.b.europe-west1.sql-psc.goog"
	for name, tt := range map[string]struct {
		cfg  cloudsqltest.Instance
		want []string
	}{
		"names":   {cloudsqltest.Instance{DNSNames: []string{"db.example.com"}}, []string{"db.example.com"}},
		"PSC":     {cloudsqltest.Instance{Addrs: map[cloudsqlconn.IPType]string{cloudsqlconn.PublicIP: "203.0.113.7", cloudsqlconn.PSC: psc}}, []string{psc}},
		"altered": {cloudsqltest.Instance{AlterServerCert: func(c *x509.Certificate) { c.DNSNames = nil }}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			inMemory(t, tt.cfg, func(t *testing.T, c *client) {
				conn := c.mustConnect(c.config())
				defer conn.Close()
				leaf := conn.ConnectionState().PeerCertificates[0]
				if !slices.Equal(leaf.DNSNames, tt.want) || leaf.Subject.CommonName != "my-project:my-db" {
					t.Errorf("the certificate is for %q and %q", leaf.Subject.CommonName, leaf.DNSNames)
				}
			})
		})
	}
}
