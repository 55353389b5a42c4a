package emulator

import (
	"crypto/x509"
	"fmt"
	"strings"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// parseNamed finds the constant, of those from 0 on, that has a name, in any
// letter case. The empty name is that of the first. A number that is no constant
// has itself in the end of its text, in brackets.
func parseNamed[T interface {
	~int
	String() string
}](what, name string) (T, error) {
	var names []string
	for v := T(0); !strings.HasSuffix(v.String(), fmt.Sprintf("(%d)", int(v))); v++ {
		if name == "" || strings.EqualFold(name, v.String()) {
			return v, nil
		}
		names = append(names, v.String())
	}
	return 0, fmt.Errorf("unknown %s %q; want %s", what, name, strings.Join(names, ", "))
}

func parseBehavior(name string) (cloudsqltest.Behavior, error) {
	return parseNamed[cloudsqltest.Behavior]("behavior", name)
}

func parseExchange(name string) (cloudsqltest.MetadataExchange, error) {
	return parseNamed[cloudsqltest.MetadataExchange]("metadata exchange", name)
}

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
