package certs

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"time"
)

// tokenExtension marks the certificate extension that holds the login token.
// Where Cloud SQL keeps it is not public; this is an OID of our own.
var tokenExtension = asn1.ObjectIdentifier{2, 25, 1862953547}

// newClientCA makes the CA that signs an instance's client certificates.
func newClientCA() *Authority { return NewAuthority("Google Cloud SQL Signing CA") }

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

// LoginToken returns the login token in a client certificate, or "".
func LoginToken(c *x509.Certificate) (token string) {
	for _, e := range c.Extensions {
		if e.Id.Equal(tokenExtension) {
			if _, err := asn1.Unmarshal(e.Value, &token); err != nil {
				return ""
			}
		}
	}
	return token
}
