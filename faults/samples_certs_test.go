package faults_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"strings"
	"sync"
	"time"
)

// samplePKI describes the certificates of an instance.
type samplePKI struct {
	CA, Leaf     sampleCert
	Intermediate *sampleCert
	Anchors      []string // ca, intermediate: in the metadata
	Handshake    []string // beside the leaf
}

type sampleCert struct {
	Key, Sig         string
	Serial           int64
	Days             int // that it is valid for; negative: that it has expired for
	KeyUsage, KeyIDs bool
	ServerAuth       bool
	Subject          [][2]string
	SANs             []string
}

// issue makes the certificates: what the instance shows, and the PEM of what the
// metadata has.
func (p *samplePKI) issue() (*tls.Certificate, string) {
	certs := map[string]*x509.Certificate{"ca": p.CA.sign(&p.CA, nil, true)}
	signer, parent := &p.CA, certs["ca"]
	if p.Intermediate != nil {
		parent = p.Intermediate.sign(signer, parent, true)
		signer, certs["intermediate"] = p.Intermediate, parent
	}
	leaf := p.Leaf.sign(signer, parent, false)
	shown := &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: p.Leaf.key("leaf"), Leaf: leaf}
	for _, name := range p.Handshake {
		shown.Certificate = append(shown.Certificate, certs[name].Raw)
	}
	var anchors strings.Builder
	for _, name := range p.Anchors {
		_ = pem.Encode(&anchors, &pem.Block{Type: "CERTIFICATE", Bytes: certs[name].Raw})
	}
	return shown, anchors.String()
}

// oidOf are the attributes of a subject.
var oidOf = map[string]asn1.ObjectIdentifier{"C": {2, 5, 4, 6}, "O": {2, 5, 4, 10}, "CN": {2, 5, 4, 3}, "dnQualifier": {2, 5, 4, 46}}

var signatures = map[string]x509.SignatureAlgorithm{
	"SHA1-RSA": x509.SHA1WithRSA, "SHA256-RSA": x509.SHA256WithRSA, "SHA256-RSAPSS": x509.SHA256WithRSAPSS, "ECDSA-SHA384": x509.ECDSAWithSHA384,
}

// sign returns the certificate, signed by another, or by itself.
func (c *sampleCert) sign(signer *sampleCert, parent *x509.Certificate, isCA bool) *x509.Certificate {
	role := "leaf"
	t := &x509.Certificate{
		SerialNumber: big.NewInt(c.Serial), DNSNames: c.SANs, SignatureAlgorithm: signatures[c.Sig],
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().AddDate(0, 0, c.Days),
	}
	if c.Days < 0 {
		t.NotBefore = t.NotAfter.AddDate(-1, 0, 0)
	}
	var subject pkix.RDNSequence
	for _, s := range c.Subject {
		subject = append(subject, pkix.RelativeDistinguishedNameSET{{Type: oidOf[s[0]], Value: s[1]}})
	}
	t.RawSubject = must(asn1.Marshal(subject))
	if isCA {
		role = "ca of " + string(t.RawSubject)
		if c.KeyIDs {
			t.IsCA, t.BasicConstraintsValid, t.MaxPathLenZero = true, true, parent != nil
		} else { // crypto/x509 gives identifiers to all that it knows for CAs
			constraints := must(asn1.Marshal(struct {
				IsCA    bool
				PathLen int
			}{true, 0}))
			t.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Critical: true, Value: constraints}}
		}
	}
	if c.KeyUsage {
		t.KeyUsage = x509.KeyUsageDigitalSignature
		if isCA {
			t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
		}
	}
	if c.ServerAuth {
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	if parent == nil {
		parent = t
	}
	by := "ca of " + string(parent.RawSubject)
	der := must(x509.CreateCertificate(rand.Reader, t, parent, c.key(role).Public(), signer.key(by)))
	return must(x509.ParseCertificate(der))
}

// sampleKeys are made once: the large ones take a second.
var sampleKeys sync.Map

func (c *sampleCert) key(role string) crypto.Signer {
	id := c.Key + " " + role
	if key, ok := sampleKeys.Load(id); ok {
		return key.(crypto.Signer)
	}
	var key crypto.Signer
	switch c.Key {
	case "rsa2048":
		key = must(rsa.GenerateKey(rand.Reader, 2048))
	case "rsa4096":
		key = must(rsa.GenerateKey(rand.Reader, 4096))
	case "p384":
		key = must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	default:
		panic("a sample has a key of the kind " + c.Key)
	}
	sampleKeys.Store(id, key)
	return key
}

// sampleKeyPEM is a private key as a credentials file has it, in one line of
// JSON.
var sampleKeyPEM = sync.OnceValue(func() string {
	der := must(x509.MarshalPKCS8PrivateKey((&sampleCert{Key: "rsa2048"}).key("account")))
	return strings.ReplaceAll(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "\n", `\n`)
})

// must is for what fails only when a sample is wrong.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
