package emulator

import (
	"crypto/x509"
	"fmt"
	"time"
)

// alteration is what makes a server certificate bad in one way.
func alteration(name string) (func(*x509.Certificate), error) {
	switch name {
	case "", "good":
		return nil, nil
	case "expired":
		return func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, nil
	case "not-yet-valid":
		return func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }, nil
	case "wrong-name":
		return func(c *x509.Certificate) {
			c.Subject.CommonName, c.DNSNames = "another-project:another-db", []string{"another.example.com"}
		}, nil
	case "client-only":
		return func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }, nil
	}
	return nil, fmt.Errorf("unknown server certificate %q; want good, expired, not-yet-valid, wrong-name, client-only", name)
}
