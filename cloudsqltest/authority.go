package cloudsqltest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"
)

// tokenExtension marks the certificate extension that holds the login token.
// Where Cloud SQL keeps it is not public; this is an OID of our own.
var tokenExtension = asn1.ObjectIdentifier{2, 25, 1862953547}

// authority is a certificate authority.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// newAuthority makes a CA, signed by parent or, if that is nil, by itself.
func newAuthority(commonName string, parent *authority) *authority {
	a := &authority{key: newKey()}
	template := &x509.Certificate{
		Subject:               googleSubject(commonName),
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().AddDate(10, 0, 0),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	if parent == nil {
		parent = &authority{cert: template, key: a.key}
	}
	a.cert = parent.sign(template, a.key.Public())
	return a
}

// sign returns template as a certificate for public, with a random serial
// number.
func (a *authority) sign(template *x509.Certificate, public crypto.PublicKey) *x509.Certificate {
	template.SerialNumber = must(rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 64)))
	der := must(x509.CreateCertificate(rand.Reader, template, a.cert, public, a.key))
	return must(x509.ParseCertificate(der))
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// serverIdentity is what an instance shows to its clients, and what the Admin
// API says about it.
type serverIdentity struct {
	cert    tls.Certificate // leaf first, then the chain
	anchors string          // PEM: serverCaCert.cert
	issuer  *x509.Certificate
}

// newServerIdentity makes a server CA for the instance and a certificate from
// it. In the legacy form the CA is the instance's own and the common name is
// project:instance. In the CAS forms a root and an intermediate stand above
// the certificate, and it has DNS names but no common name.
func newServerIdentity(project, id string, cfg *Instance) *serverIdentity {
	leafKey := newKey()
	leaf := &x509.Certificate{
		Subject:     googleSubject(project + ":" + id),
		DNSNames:    cfg.certificateNames(),
		NotBefore:   time.Now().Add(-time.Hour),
		NotAfter:    time.Now().AddDate(1, 0, 0),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	issuer := newAuthority("Google Cloud SQL Server CA "+randomHex(8), nil)
	chain := []*authority{issuer}
	if cfg.CAMode.isCAS() {
		leaf.Subject = pkix.Name{}
		root := newAuthority("Google Cloud SQL Root CA "+randomHex(8), nil)
		issuer = newAuthority("Google Cloud SQL Intermediate CA "+randomHex(8), root)
		chain = []*authority{issuer, root}
	}
	if cfg.AlterServerCert != nil {
		cfg.AlterServerCert(leaf)
	}

	signed := issuer.sign(leaf, leafKey.Public())
	id2 := &serverIdentity{
		cert:   tls.Certificate{Certificate: [][]byte{signed.Raw}, PrivateKey: leafKey, Leaf: signed},
		issuer: chain[len(chain)-1].cert,
	}
	for _, a := range chain {
		id2.cert.Certificate = append(id2.cert.Certificate, a.cert.Raw)
		if !cfg.RootAnchorOnly || a == chain[len(chain)-1] {
			id2.anchors += pemCertificate(a.cert)
		}
	}
	return id2
}

// newClientCA makes the CA that signs an instance's client certificates.
func newClientCA() *authority {
	return newAuthority("Google Cloud SQL Signing CA "+randomHex(8), nil)
}

// clientCert signs a client certificate, with a login token in it unless token
// is empty.
func (a *authority) clientCert(public crypto.PublicKey, token string, from, until time.Time) *x509.Certificate {
	template := &x509.Certificate{
		Subject:     googleSubject("Google Cloud SQL Client"),
		NotBefore:   from,
		NotAfter:    until,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	if token != "" {
		template.ExtraExtensions = []pkix.Extension{{Id: tokenExtension, Value: must(asn1.Marshal(token))}}
	}
	return a.sign(template, public)
}

// embeddedToken returns the login token in a client certificate, or "".
func embeddedToken(c *x509.Certificate) (token string) {
	for _, e := range c.Extensions {
		if e.Id.Equal(tokenExtension) {
			if _, err := asn1.Unmarshal(e.Value, &token); err != nil {
				return ""
			}
		}
	}
	return token
}

func googleSubject(commonName string) pkix.Name {
	return pkix.Name{Country: []string{"US"}, Organization: []string{"Google, Inc"}, CommonName: commonName}
}

func pemCertificate(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}

func newKey() *ecdsa.PrivateKey {
	return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
}

func randomHex(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // never fails
	return fmt.Sprintf("%x", b)
}

// must is for what fails only when the kit itself is wrong.
func must[T any](v T, err error) T {
	if err != nil {
		panic("cloudsqltest: " + err.Error())
	}
	return v
}
