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
	a.cert = must(parent.sign(template, a.key.Public()))
	return a
}

// sign returns template as a certificate for public, with a random serial
// number.
func (a *authority) sign(template *x509.Certificate, public crypto.PublicKey) (*x509.Certificate, error) {
	template.SerialNumber = must(rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 64)))
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, public, a.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// newServerCA makes the CA of an instance's server: the authority that signs,
// then the one above it. In the legacy form there is one, the instance's own;
// in the CAS forms an intermediate signs, and a root stands above it.
func newServerCA(mode CAMode) []*authority {
	if !mode.isCAS() {
		return []*authority{newAuthority("Google Cloud SQL Server CA "+randomHex(8), nil)}
	}
	root := newAuthority("Google Cloud SQL Root CA "+randomHex(8), nil)
	return []*authority{newAuthority("Google Cloud SQL Intermediate CA "+randomHex(8), root), root}
}

// serverTemplate is a server certificate to sign. In the legacy form its common
// name is project:instance; in the CAS forms it has DNS names only.
func serverTemplate(mode CAMode, key string, names []string) *x509.Certificate {
	template := &x509.Certificate{
		DNSNames:    names,
		NotBefore:   time.Now().Add(-time.Hour),
		NotAfter:    time.Now().AddDate(1, 0, 0),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if !mode.isCAS() {
		template.Subject = googleSubject(key)
	}
	return template
}

// serverCert signs template for a new key. The handshake shows it with the
// whole chain.
func serverCert(ca []*authority, template *x509.Certificate) tls.Certificate {
	key := newKey()
	leaf := must(ca[0].sign(template, key.Public()))
	cert := tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
	for _, a := range ca {
		cert.Certificate = append(cert.Certificate, a.cert.Raw)
	}
	return cert
}

// newClientCA makes the CA that signs an instance's client certificates.
func newClientCA() *authority {
	return newAuthority("Google Cloud SQL Signing CA "+randomHex(8), nil)
}

// clientTemplate is a client certificate to sign, with a login token in it
// unless token is empty.
func clientTemplate(token string, from, until time.Time) *x509.Certificate {
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
	return template
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
