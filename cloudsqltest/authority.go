package cloudsqltest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
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
	cert      *x509.Certificate
	key       crypto.Signer
	algorithm x509.SignatureAlgorithm // zero: what crypto/x509 takes for the key
}

// newAuthority makes a CA with a key of its own, signed by itself.
func newAuthority(commonName string) *authority {
	return (&authority{key: newKey(elliptic.P256())}).certified(commonName, nil)
}

// certified gives the CA its certificate, signed by parent or, if that is nil, by
// itself.
func (a *authority) certified(commonName string, parent *authority) *authority {
	template := &x509.Certificate{
		Subject:               googleSubject(commonName),
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().AddDate(10, 0, 0),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	if parent == nil {
		a.cert = template
		parent = a
	}
	a.cert = must(parent.sign(template, a.key.Public()))
	return a
}

// sign returns template as a certificate for public. What it lacks of a serial
// number and a signature's algorithm is a random one, and the authority's.
func (a *authority) sign(template *x509.Certificate, public crypto.PublicKey) (*x509.Certificate, error) {
	if template.SerialNumber == nil {
		template.SerialNumber = must(rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 64)))
	}
	if template.SignatureAlgorithm == x509.UnknownSignatureAlgorithm {
		template.SignatureAlgorithm = a.algorithm
	}
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

// newClientCA makes the CA that signs an instance's client certificates.
func newClientCA() *authority {
	return newAuthority("Google Cloud SQL Signing CA " + randomHex(8))
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

func newKey(curve elliptic.Curve) crypto.Signer {
	return must(ecdsa.GenerateKey(curve, rand.Reader))
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
