package certs

import (
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"slices"
	"sync"
	"time"
)

// Form is the form of a server's CA and certificate.
type Form int

// The forms, see the CAMode of the kit.
const (
	Legacy      Form = iota // a CA of the instance's own
	GoogleCAS               // an intermediate and a root
	CustomerCAS             // the same, with a CA of the customer's
)

// The RSA keys are made once, when they are first needed, and shared by all
// instances of the process: making one takes a tenth of a second, and a second for
// those of 4096 bits. A rotation takes the other key of two.
var (
	serverKey       = rsaKey(2048)
	instanceCAKeys  = []func() crypto.Signer{rsaKey(2048), rsaKey(2048)}
	customersCAKeys = []func() crypto.Signer{rsaKey(4096), rsaKey(4096)}
)

func rsaKey(bits int) func() crypto.Signer {
	return sync.OnceValue(func() crypto.Signer { return must(rsa.GenerateKey(rand.Reader, bits)) })
}

// newServerCA makes the CA of an instance's server: the authority that signs,
// then the one above it. In the legacy form there is one, the instance's own; in
// the CAS forms an intermediate signs, and a root stands above it. The number
// counts the CAs that the instance has had.
func newServerCA(form Form, number int) []*Authority {
	root, sub := &Authority{}, &Authority{}
	switch form {
	case GoogleCAS:
		root.key, sub.key = newKey(elliptic.P384()), newKey(elliptic.P384())
	case CustomerCAS:
		root.key, sub.key = customersCAKeys[number%2](), customersCAKeys[(number+1)%2]()
		root.algorithm, sub.algorithm = x509.SHA256WithRSAPSS, x509.SHA256WithRSAPSS
	default:
		return []*Authority{newInstanceCA(instanceCAKeys[number%2]())}
	}
	root.certified("Google Cloud SQL Root CA "+randomHex(8), nil)
	return []*Authority{sub.certified("Google Cloud SQL Intermediate CA "+randomHex(8), root), root}
}

// AnchorName is what the metadata has for the common name of a server CA: where
// there is a dnQualifier, the whole subject.
func AnchorName(ca *x509.Certificate) string {
	for _, name := range ca.Subject.Names {
		if name.Type.Equal(dnQualifier) {
			return fmt.Sprintf(`C=US,O=Google\, Inc,CN=%s,dnQualifier=%v`, ca.Subject.CommonName, name.Value)
		}
	}
	return ca.Subject.CommonName
}

// dnQualifier is what tells the CAs of instances apart, which have one common
// name.
var dnQualifier = asn1.ObjectIdentifier{2, 5, 4, 46}

// newInstanceCA makes a CA in the form of those that belong to one instance. It
// has no key usage and no key identifiers, which crypto/x509 gives to all that it
// knows for a CA.
func newInstanceCA(key crypto.Signer) *Authority {
	a := &Authority{key: key}
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	subject := googleSubject("Cloud SQL Server CA")
	subject.ExtraNames = []pkix.AttributeTypeAndValue{{Type: dnQualifier, Value: uuid(id)}}
	constraints := must(asn1.Marshal(struct {
		CA         bool
		PathLength int
	}{true, 0}))
	a.cert = &x509.Certificate{
		SerialNumber:    new(big.Int),
		RawSubject:      backwards(subject),
		NotBefore:       time.Now().Add(-time.Hour),
		NotAfter:        time.Now().AddDate(10, 0, 0),
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Critical: true, Value: constraints}},
	}
	a.cert = must(a.sign(a.cert, key.Public()))
	return a
}

// serverTemplate is a server certificate to sign. In the legacy form its common
// name is project:instance; in the CAS forms it has DNS names only.
func (cfg Config) serverTemplate() *x509.Certificate {
	now := time.Now()
	template := &x509.Certificate{DNSNames: cfg.Names(), NotBefore: now.Add(-time.Hour)}
	if cfg.Form != Legacy {
		template.NotAfter = now.AddDate(1, 0, 0)
		template.KeyUsage = x509.KeyUsageDigitalSignature
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		return template
	}
	template.NotAfter = now.AddDate(10, 0, 0)
	template.Subject = googleSubject(cfg.CommonName)
	if template.DNSNames == nil {
		template.DNSNames = []string{cfg.unlistedName()}
	}
	return template
}

// unlistedName is a DNS name of the instance that no metadata has.
func (cfg Config) unlistedName() string {
	id := sha256.Sum256([]byte(cfg.CommonName))
	return "1-" + uuid([16]byte(id[:])) + "." + cfg.Region + ".sql.goog"
}

// serverCertificate signs template. The handshake shows it with the whole chain.
func serverCertificate(form Form, ca []*Authority, template *x509.Certificate) tls.Certificate {
	key := serverKey()
	if form == GoogleCAS {
		key = newKey(elliptic.P384())
	}
	if form == Legacy && template.RawSubject == nil {
		template.RawSubject = backwards(template.Subject)
	}
	return chain(key, must(ca[0].sign(template, key.Public())), ca)
}

// backwards is a subject from its dnQualifier and common name to its country, as
// in the certificates of one instance's CA.
func backwards(name pkix.Name) []byte {
	sequence := name.ToRDNSequence()
	slices.Reverse(sequence)
	return must(asn1.Marshal(sequence))
}

// uuid is random data as a UUID.
func uuid(b [16]byte) string {
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
