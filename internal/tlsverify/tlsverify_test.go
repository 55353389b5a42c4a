package tlsverify

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// issuer is a certificate and its key.
type issuer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// authorities are what the certificates of the vectors come from.
type authorities struct {
	legacy       *issuer // an instance's own CA, as its server CA
	root         *issuer // of the CA service, shared by instances
	intermediate *issuer // issued by root
	client       *issuer // an instance's client CA
	foreign      *issuer // unknown to everybody
	pinned       *issuer // a server certificate that is its own anchor
}

var pki = sync.OnceValue(func() authorities {
	var a authorities
	a.legacy = issue(nil, ca("Google Cloud SQL Server CA 8a9b"))
	a.root = issue(nil, ca("Google Cloud SQL Root CA"))
	a.intermediate = issue(a.root, ca("Google Cloud SQL Intermediate CA"))
	a.client = issue(nil, ca("Google Cloud SQL Signing CA foo:baz"))
	a.foreign = issue(nil, ca("Google Cloud SQL Root CA"))
	a.pinned = issue(nil, server("my-project:my-db"))
	return a
})

// issue makes a certificate from template, signed by parent, or by itself if
// that is nil. It panics on a template that crypto/x509 refuses.
func issue(parent *issuer, template *x509.Certificate) *issuer {
	c, err := tryIssue(parent, template)
	if err != nil {
		panic(err)
	}
	return c
}

func tryIssue(parent *issuer, template *x509.Certificate) (*issuer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if parent == nil {
		parent = &issuer{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent.cert, key.Public(), parent.key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &issuer{cert, key}, err
}

func ca(name string) *x509.Certificate {
	return &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.AddDate(-1, 0, 0),
		NotAfter:              now.AddDate(10, 0, 0),
		BasicConstraintsValid: true,
		IsCA:                  true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
}

// server is a template for a server's certificate.
func server(commonName string, sans ...string) *x509.Certificate {
	return &x509.Certificate{
		Subject:               pkix.Name{CommonName: commonName},
		DNSNames:              sans,
		NotBefore:             now.AddDate(0, -1, 0),
		NotAfter:              now.AddDate(1, 0, 0),
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
}

func altered(c *x509.Certificate, alter func(*x509.Certificate)) *x509.Certificate {
	alter(c)
	return c
}

func pool(issuers ...*issuer) *x509.CertPool {
	p := x509.NewCertPool()
	for _, i := range issuers {
		p.AddCert(i.cert)
	}
	return p
}

func TestASignatureWithSHA1IsTold(t *testing.T) {
	t.Parallel()
	p := pki()
	sha1 := func(commonName string) *x509.Certificate {
		return altered(server(commonName), func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA1 })
	}
	id := Identity{Anchors: pool(p.legacy), CommonName: "my-project:my-db"}
	for name, tt := range map[string]struct {
		leaf *issuer
		want bool
	}{
		"the instance's":     {issue(p.legacy, sha1("my-project:my-db")), true},
		"another instance's": {issue(p.legacy, sha1("my-project:other")), false},
		"with SHA-256":       {issue(p.foreign, server("my-project:my-db")), false},
	} {
		refused, ok := errors.AsType[*Error](id.Verify([]*x509.Certificate{tt.leaf.cert}, "", now))
		if !ok || refused.SHA1 != tt.want || strings.Contains(refused.Error(), "is signed with SHA-1") != tt.want {
			t.Errorf("%s: got %v", name, refused)
		}
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	p := pki()
	const (
		cn       = "my-project:my-db"
		name     = "42cfcd3545f4.2imj07zrx20yw.europe-west1.sql.goog"
		unsigned = "x509: certificate signed by unknown authority"
	)
	var (
		legacy = Identity{Anchors: pool(p.legacy), CommonName: cn, CAMode: "GOOGLE_MANAGED_INTERNAL_CA"}
		cas    = Identity{Anchors: pool(p.root, p.intermediate), CommonName: cn, DNSNames: []string{name + "."}, CAMode: "GOOGLE_MANAGED_CAS_CA"}
	)
	with := func(id Identity, names ...string) Identity {
		id.DNSNames = names
		return id
	}

	for _, tt := range []struct {
		name    string
		id      Identity
		from    *issuer // of the leaf
		leaf    *x509.Certificate
		sent    []*issuer // what the server sends after the leaf
		dialled string
		want    string // the error; empty: accepted
	}{
		// What real instances have.
		{
			name: "instance with its own CA",
			id:   legacy, from: p.legacy, leaf: server(cn),
		}, {
			name: "project with a domain",
			id:   Identity{Anchors: pool(p.legacy), CommonName: "example.com:proj:db"},
			from: p.legacy, leaf: server("example.com:proj:db"),
		}, {
			name: "several anchors, in mid-rotation",
			id:   Identity{Anchors: pool(p.foreign, p.legacy), CommonName: cn},
			from: p.legacy, leaf: server(cn),
		}, {
			name: "CA service, intermediate among the anchors",
			id:   cas, from: p.intermediate, leaf: server("", name),
		}, {
			name: "CA service, intermediate only in the handshake",
			id:   Identity{Anchors: pool(p.root), DNSNames: []string{name}},
			from: p.intermediate, leaf: server("", name), sent: []*issuer{p.intermediate},
		}, {
			name: "CA service, intermediate alone as the anchor",
			id:   Identity{Anchors: pool(p.intermediate), DNSNames: []string{name}},
			from: p.intermediate, leaf: server("", name),
		},

		// How names are compared.
		{
			name: "SAN with a trailing dot",
			id:   with(cas, name), from: p.intermediate, leaf: server("", name+"."),
		}, {
			name: "trailing dots on both sides",
			id:   cas, from: p.intermediate, leaf: server("", name+"."),
		}, {
			name: "SAN in upper case",
			id:   cas, from: p.intermediate, leaf: server("", strings.ToUpper(name)+"."),
		}, {
			name: "metadata in upper case",
			id:   with(cas, strings.ToUpper(name)), from: p.intermediate, leaf: server("", name),
		}, {
			name: "one of several SANs",
			id:   cas, from: p.intermediate, leaf: server("", "a.example.com", name, "b.example.com"),
		}, {
			name: "one of several names in the metadata",
			id:   with(cas, "a.example.com", "", name), from: p.intermediate, leaf: server("", name),
		}, {
			name: "wildcard for one label",
			id:   with(cas, "db.example.com"), from: p.intermediate, leaf: server("", "*.example.com."),
		}, {
			name: "wildcard for no label",
			id:   with(cas, "example.com"), from: p.intermediate, leaf: server("", "*.example.com"),
			want: `server certificate is for another server; expected one of ["example.com" "my-project:my-db"], found common name "" and DNS names ["*.example.com"] (CA mode GOOGLE_MANAGED_CAS_CA)`,
		}, {
			name: "wildcard for two labels",
			id:   with(cas, "a.b.example.com"), from: p.intermediate, leaf: server("", "*.example.com"),
			want: `server certificate is for another server; expected one of ["a.b.example.com" "my-project:my-db"], found common name "" and DNS names ["*.example.com"] (CA mode GOOGLE_MANAGED_CAS_CA)`,
		}, {
			name: "wildcard for everything",
			id:   with(cas, "localhost"), from: p.intermediate, leaf: server("", "*"),
			want: `server certificate is for another server; expected one of ["localhost" "my-project:my-db"], found common name "" and DNS names ["*"] (CA mode GOOGLE_MANAGED_CAS_CA)`,
		}, {
			name: "part of a name",
			id:   with(cas, "db.example.com"), from: p.intermediate, leaf: server("", "b.example.com", "db.example", "db.example.com.evil.com"),
			want: `server certificate is for another server; expected one of ["db.example.com" "my-project:my-db"], found common name "" and DNS names ["b.example.com" "db.example" "db.example.com.evil.com"] (CA mode GOOGLE_MANAGED_CAS_CA)`,
		}, {
			name: "letter that only Unicode folds to another",
			id:   with(cas, "db.example.\u212Aom"), from: p.intermediate, leaf: server("", "db.example.kom"),
			want: `server certificate is for another server; expected one of ["db.example.` + "\u212A" + `om" "my-project:my-db"], found common name "" and DNS names ["db.example.kom"] (CA mode GOOGLE_MANAGED_CAS_CA)`,
		}, {
			name: "name that the caller dialled, unknown to the metadata",
			id:   cas, from: p.intermediate, leaf: server("", "db.example.com"), dialled: "db.example.com",
		}, {
			name: "name of the metadata, though the caller dialled another",
			id:   cas, from: p.intermediate, leaf: server("", name), dialled: "db.example.com",
		}, {
			name: "neither name",
			id:   cas, from: p.intermediate, leaf: server("", "other.example.com"), dialled: "DB.example.com.",
			want: `server certificate is for another server; expected one of ["DB.example.com" "42cfcd3545f4.2imj07zrx20yw.europe-west1.sql.goog" "my-project:my-db"], found common name "" and DNS names ["other.example.com"] (CA mode GOOGLE_MANAGED_CAS_CA)`,
		}, {
			name: "the error tells a name once",
			id:   cas, from: p.intermediate, leaf: server(""), dialled: name,
			want: `server certificate is for another server; expected one of ["42cfcd3545f4.2imj07zrx20yw.europe-west1.sql.goog" "my-project:my-db"], found common name "" and DNS names [] (CA mode GOOGLE_MANAGED_CAS_CA)`,
		}, {
			name: "IP address as a DNS name",
			id:   with(cas, "10.0.0.1"), from: p.intermediate, leaf: server("", "10.0.0.1"), dialled: "10.0.0.1",
			want: `server certificate is for another server; expected one of ["10.0.0.1" "my-project:my-db"], found common name "" and DNS names ["10.0.0.1"] (CA mode GOOGLE_MANAGED_CAS_CA)`,
		}, {
			name: "IP address as an IP SAN",
			id:   with(cas, "10.0.0.1", "[10.0.0.1]"), from: p.intermediate,
			leaf: altered(server(""), func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(10, 0, 0, 1)} }),
			want: `server certificate is for another server; expected one of ["10.0.0.1" "[10.0.0.1]" "my-project:my-db"], found common name "" and DNS names [] (CA mode GOOGLE_MANAGED_CAS_CA)`,
		},

		// The common name, when no DNS name fits.
		{
			name: "wrong SAN, right common name",
			id:   cas, from: p.intermediate, leaf: server(cn, "old.example.com"),
		}, {
			name: "right SAN, wrong common name",
			id:   cas, from: p.intermediate, leaf: server("my-project:other", name),
		}, {
			name: "wrong common name",
			id:   legacy, from: p.legacy, leaf: server("my-project:other"),
			want: `server certificate is for another server; expected one of ["my-project:my-db"], found common name "my-project:other" and DNS names [] (CA mode GOOGLE_MANAGED_INTERNAL_CA)`,
		}, {
			name: "common name in other letter case",
			id:   legacy, from: p.legacy, leaf: server("my-project:MY-DB"),
			want: `server certificate is for another server; expected one of ["my-project:my-db"], found common name "my-project:MY-DB" and DNS names [] (CA mode GOOGLE_MANAGED_INTERNAL_CA)`,
		}, {
			name: "common name with something before it",
			id:   legacy, from: p.legacy, leaf: server("example.com:my-project:my-db"),
			want: `server certificate is for another server; expected one of ["my-project:my-db"], found common name "example.com:my-project:my-db" and DNS names [] (CA mode GOOGLE_MANAGED_INTERNAL_CA)`,
		}, {
			name: "DNS name as the common name",
			id:   cas, from: p.intermediate, leaf: server(name),
			want: `server certificate is for another server; expected one of ["42cfcd3545f4.2imj07zrx20yw.europe-west1.sql.goog" "my-project:my-db"], found common name "42cfcd3545f4.2imj07zrx20yw.europe-west1.sql.goog" and DNS names [] (CA mode GOOGLE_MANAGED_CAS_CA)`,
		}, {
			name: "empty common name, and none expected",
			id:   Identity{Anchors: pool(p.legacy)}, from: p.legacy, leaf: server(""),
			want: `server certificate is for another server; expected one of [], found common name "" and DNS names [] (CA mode not given)`,
		}, {
			name: "empty names, and none expected",
			id:   Identity{Anchors: pool(p.legacy), DNSNames: []string{"", "."}},
			from: p.legacy, leaf: server("", "."), dialled: ".",
			want: `server certificate is for another server; expected one of [], found common name "" and DNS names ["."] (CA mode not given)`,
		},

		// Other people's certificates.
		{
			name: "another instance of the same CA service",
			id:   cas, from: p.intermediate, leaf: server("", "aaaaaaaaaaaa.2imj07zrx20yw.europe-west1.sql.goog"),
			want: `server certificate is for another server; expected one of ["42cfcd3545f4.2imj07zrx20yw.europe-west1.sql.goog" "my-project:my-db"], found common name "" and DNS names ["aaaaaaaaaaaa.2imj07zrx20yw.europe-west1.sql.goog"] (CA mode GOOGLE_MANAGED_CAS_CA)`,
		}, {
			name: "foreign CA, right names",
			id:   legacy, from: p.foreign, leaf: server(cn, name),
			want: `server certificate does not chain to the instance's server CA: ` + unsigned + `; expected one of ["my-project:my-db"], found common name "my-project:my-db" and DNS names ["42cfcd3545f4.2imj07zrx20yw.europe-west1.sql.goog"] (CA mode GOOGLE_MANAGED_INTERNAL_CA)`,
		}, {
			name: "foreign CA in the handshake",
			id:   legacy, from: p.foreign, leaf: server(cn), sent: []*issuer{p.foreign},
			want: `server certificate does not chain to the instance's server CA: ` + unsigned + `; expected one of ["my-project:my-db"], found common name "my-project:my-db" and DNS names [] (CA mode GOOGLE_MANAGED_INTERNAL_CA)`,
		}, {
			name: "foreign CA of the same name",
			id:   Identity{Anchors: pool(p.root), CommonName: cn}, from: p.foreign, leaf: server(cn),
			want: `server certificate does not chain to the instance's server CA: ` + unsigned + ` (possibly because of "x509: ECDSA verification failure" while trying to verify candidate authority certificate "Google Cloud SQL Root CA"); expected one of ["my-project:my-db"], found common name "my-project:my-db" and DNS names [] (CA mode not given)`,
		}, {
			name: "intermediate nowhere",
			id:   Identity{Anchors: pool(p.root), DNSNames: []string{name}},
			from: p.intermediate, leaf: server("", name),
			want: `server certificate does not chain to the instance's server CA: ` + unsigned + `; expected one of ["42cfcd3545f4.2imj07zrx20yw.europe-west1.sql.goog"], found common name "" and DNS names ["42cfcd3545f4.2imj07zrx20yw.europe-west1.sql.goog"] (CA mode not given)`,
		}, {
			name: "no anchors",
			id:   Identity{Anchors: pool(), CommonName: cn}, from: p.legacy, leaf: server(cn),
			want: `server certificate does not chain to the instance's server CA: ` + unsigned + `; expected one of ["my-project:my-db"], found common name "my-project:my-db" and DNS names [] (CA mode not given)`,
		}, {
			name: "signed by a server",
			id:   Identity{Anchors: pool(p.pinned), CommonName: cn}, from: p.pinned, leaf: server(cn),
			want: `server certificate does not chain to the instance's server CA: ` + unsigned + ` (possibly because of "x509: invalid signature: parent certificate cannot sign this kind of certificate" while trying to verify candidate authority certificate "my-project:my-db"); expected one of ["my-project:my-db"], found common name "my-project:my-db" and DNS names [] (CA mode not given)`,
		}, {
			name: "client certificate",
			id:   legacy, from: p.client,
			leaf: altered(server("Google Cloud SQL Client"), func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth) }),
			want: `server certificate does not chain to the instance's server CA: ` + unsigned + `; expected one of ["my-project:my-db"], found common name "Google Cloud SQL Client" and DNS names [] (CA mode GOOGLE_MANAGED_INTERNAL_CA)`,
		}, {
			name: "client certificate, were both CAs one",
			id:   Identity{Anchors: pool(p.client), CommonName: cn}, from: p.client,
			leaf: altered(server("Google Cloud SQL Client"), func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth) }),
			want: `server certificate is for another server; expected one of ["my-project:my-db"], found common name "Google Cloud SQL Client" and DNS names [] (CA mode not given)`,
		},

		// Certificates that are good for nothing.
		{
			name: "only for clients",
			id:   legacy, from: p.legacy,
			leaf: altered(server(cn), func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }),
			want: `server certificate is not acceptable: x509: certificate specifies an incompatible key usage; expected one of ["my-project:my-db"], found common name "my-project:my-db" and DNS names [] (CA mode GOOGLE_MANAGED_INTERNAL_CA)`,
		}, {
			name: "expired",
			id:   legacy, from: p.legacy,
			leaf: altered(server(cn), func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }),
			want: `server certificate is not acceptable: x509: certificate has expired or is not yet valid: current time 2026-05-01T12:00:00Z is after 2026-05-01T11:59:59Z; expected one of ["my-project:my-db"], found common name "my-project:my-db" and DNS names [] (CA mode GOOGLE_MANAGED_INTERNAL_CA)`,
		}, {
			name: "not yet valid",
			id:   legacy, from: p.legacy,
			leaf: altered(server(cn), func(c *x509.Certificate) { c.NotBefore = now.Add(time.Second) }),
			want: `server certificate is not acceptable: x509: certificate has expired or is not yet valid: current time 2026-05-01T12:00:00Z is before 2026-05-01T12:00:01Z; expected one of ["my-project:my-db"], found common name "my-project:my-db" and DNS names [] (CA mode GOOGLE_MANAGED_INTERNAL_CA)`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			chain := []*x509.Certificate{issue(tt.from, tt.leaf).cert}
			for _, c := range tt.sent {
				chain = append(chain, c.cert)
			}
			check(t, tt.id.Verify(chain, tt.dialled, now), tt.want)
			tt.id.Memory = new(Memory)
			for range 2 { // the verdict does not depend on what is remembered
				check(t, tt.id.Verify(chain, tt.dialled, now), tt.want)
			}
		})
	}
}

func TestVerifyOfACertificateThatIsItsOwnAnchor(t *testing.T) {
	t.Parallel()
	pinned := pki().pinned
	id := Identity{Anchors: pool(pinned), CommonName: "my-project:my-db"}
	chain := []*x509.Certificate{pinned.cert}
	check(t, id.Verify(chain, "", now), "")
	check(t, id.Verify(chain, "", now.AddDate(2, 0, 0)),
		`server certificate is not acceptable: x509: certificate has expired or is not yet valid: current time 2028-05-01T12:00:00Z is after 2027-05-01T12:00:00Z; expected one of ["my-project:my-db"], found common name "my-project:my-db" and DNS names [] (CA mode not given)`)
	id.CommonName = "my-project:other"
	check(t, id.Verify(chain, "", now),
		`server certificate is for another server; expected one of ["my-project:other"], found common name "my-project:my-db" and DNS names [] (CA mode not given)`)
}

func TestVerifyRefusesAnEmptyHandshake(t *testing.T) {
	t.Parallel()
	id := Identity{Anchors: pool(pki().legacy), CommonName: "my-project:my-db", CAMode: "GOOGLE_MANAGED_INTERNAL_CA"}
	check(t, id.Verify(nil, "db.example.com", now),
		`server certificate is not acceptable: the server sent none; expected one of ["db.example.com" "my-project:my-db"], found common name "" and DNS names [] (CA mode GOOGLE_MANAGED_INTERNAL_CA)`)
}

// Here the system trusts the legacy CA, which must not matter.
func TestNilAnchorsAreNotTheSystemsRoots(t *testing.T) {
	file := filepath.Join(t.TempDir(), "roots.pem")
	roots := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pki().legacy.cert.Raw})
	if err := os.WriteFile(file, roots, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSL_CERT_FILE", file)
	leaf := issue(pki().legacy, server("my-project:my-db")).cert
	if _, err := leaf.Verify(x509.VerifyOptions{CurrentTime: now}); err != nil && runtime.GOOS == "linux" {
		t.Fatalf("the system does not trust the CA: %v", err)
	}

	id := Identity{CommonName: "my-project:my-db"}
	check(t, id.Verify([]*x509.Certificate{leaf}, "", now),
		`server certificate does not chain to the instance's server CA: x509: certificate signed by unknown authority; expected one of ["my-project:my-db"], found common name "my-project:my-db" and DNS names [] (CA mode not given)`)
}

func check(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil {
		if want != "" {
			t.Fatalf("accepted, want %s", want)
		}
		return
	}
	if want == "" {
		t.Fatal(err)
	}
	if err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
	if _, ok := errors.AsType[*Error](err); !ok {
		t.Errorf("it is a %T, want *Error", err)
	}
}

func TestErrorLeadsToTheFaultOfTheChain(t *testing.T) {
	t.Parallel()
	p := pki()
	id := Identity{Anchors: pool(p.legacy), CommonName: "my-project:my-db"}
	chain := []*x509.Certificate{issue(p.foreign, server("my-project:my-db", "db.example.com")).cert}
	err := id.Verify(chain, "", now)
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); !ok {
		t.Errorf("%v does not lead to an UnknownAuthorityError", err)
	}
	chain = []*x509.Certificate{issue(p.legacy, server("my-project:other")).cert}
	if err := errors.Unwrap(id.Verify(chain, "", now)); err != nil {
		t.Errorf("the chain is good, but the error is %v", err)
	}
}
