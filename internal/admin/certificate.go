package admin

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn/internal/auth"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqladmin"
)

// pemCertificate is the PEM type of certificates.
const pemCertificate = "CERTIFICATE"

// certificate is a client certificate, ready for use, and its end.
type certificate struct {
	tls    tls.Certificate
	expiry time.Time
	login  *auth.Origin // of the login token in it; nil: there is none, or it is the caller's own
}

// newCertificate reads a certificate for key. It is useless once the login
// token in it has expired; a token without expiry never does.
func newCertificate(resp *sqladmin.GenerateEphemeralCertResponse, key crypto.Signer, login *oauth2.Token) (*certificate, error) {
	const field = "generateEphemeralCert.ephemeralCert.cert"
	if resp.EphemeralCert == nil || strings.TrimSpace(resp.EphemeralCert.Cert) == "" {
		return nil, &ReplyError{Field: field, Problem: "is empty"}
	}
	block, _ := pem.Decode([]byte(resp.EphemeralCert.Cert))
	if block == nil {
		return nil, &ReplyError{Field: field, Problem: "is not PEM"}
	}
	if block.Type != pemCertificate {
		return nil, &ReplyError{Field: field, Problem: "is not a certificate"}
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, &ReplyError{Field: field, Problem: "is not a certificate", Err: err}
	}
	if leaf.NotAfter.IsZero() { // would mean for ever
		return nil, &ReplyError{Field: field, Problem: "has no expiry"}
	}
	if public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool }); ok && !public.Equal(leaf.PublicKey) {
		return nil, &ReplyError{Field: field, Problem: "is for another key than the one that was sent"}
	}
	c := &certificate{
		tls:    tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf},
		expiry: leaf.NotAfter,
		login:  auth.OriginOf(login),
	}
	if login != nil && !login.Expiry.IsZero() && login.Expiry.Before(c.expiry) {
		c.expiry = login.Expiry
	}
	return c, nil
}
