// Package certs has the certificate authorities and certificates of an emulated
// instance, in the forms that Cloud SQL's have. It knows nothing of addresses,
// connections and the Admin API.
package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"
)

// Authority is a certificate authority.
type Authority struct {
	cert      *x509.Certificate
	key       crypto.Signer
	algorithm x509.SignatureAlgorithm // zero: what crypto/x509 takes for the key
}

// NewAuthority makes a CA with a key of its own, signed by itself. A random end is
// added to the name.
func NewAuthority(name string) *Authority {
	return (&Authority{key: newKey(elliptic.P256())}).certified(name+" "+randomHex(8), nil)
}

// certified gives the CA its certificate, signed by parent or, if that is nil, by
// itself.
func (a *Authority) certified(commonName string, parent *Authority) *Authority {
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
func (a *Authority) sign(template *x509.Certificate, public crypto.PublicKey) (*x509.Certificate, error) {
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

// Issue returns template as a certificate with a new key, to be shown with the
// authority's own.
func (a *Authority) Issue(template *x509.Certificate) tls.Certificate {
	key := newKey(elliptic.P256())
	return chain(key, must(a.sign(template, key.Public())), []*Authority{a})
}

// PEM returns the authority's certificate.
func (a *Authority) PEM() string { return PEM(a.cert) }

// Pool returns a pool with the authority's certificate.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// chain is a certificate with those of the authorities above it.
func chain(key crypto.Signer, leaf *x509.Certificate, above []*Authority) tls.Certificate {
	cert := tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
	for _, a := range above {
		cert.Certificate = append(cert.Certificate, a.cert.Raw)
	}
	return cert
}

// PEM returns a certificate as PEM.
func PEM(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}

func googleSubject(commonName string) pkix.Name {
	return pkix.Name{Country: []string{"US"}, Organization: []string{"Google, Inc"}, CommonName: commonName}
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
