package tlsverify

import (
	"crypto/x509"
	"testing"
	"time"
)

// What was proven of one certificate proves nothing of another, and not for
// longer than its whole chain is valid.
func TestAProofIsOfOneCertificateAndOfItsTime(t *testing.T) {
	t.Parallel()
	p := pki()
	const cn = "my-project:my-db"
	id := Identity{Anchors: pool(p.root, p.intermediate), CommonName: cn, Memory: new(Memory)}
	good := issue(p.intermediate, altered(server(cn), func(c *x509.Certificate) { c.NotAfter = now.AddDate(90, 0, 0) })).cert
	foreign := issue(p.legacy, server(cn)).cert
	verify := func(leaf *x509.Certificate, at time.Time) error { return id.Verify([]*x509.Certificate{leaf}, "", at) }

	for range 2 {
		if err := verify(good, now); err != nil {
			t.Fatal(err)
		}
		if verify(foreign, now) == nil {
			t.Fatal("another certificate passes")
		}
	}
	last := p.intermediate.cert.NotAfter
	if p.root.cert.NotAfter.Before(last) {
		last = p.root.cert.NotAfter
	}
	if err := verify(good, last); err != nil {
		t.Errorf("at the end of the chain: %v", err)
	}
	if verify(good, last.Add(time.Second)) == nil {
		t.Error("the certificate passes although its CA has expired")
	}
	first := p.intermediate.cert.NotBefore
	if good.NotBefore.After(first) {
		first = good.NotBefore
	}
	if verify(good, first.Add(-time.Second)) == nil {
		t.Error("the certificate passes before it is valid")
	}
}
