package tlsverify

import (
	"crypto/x509"
	"strings"
	"testing"
)

// FuzzVerify checks that a certificate with a good chain is accepted only for a
// name that it has. matches says what that means in other words than Verify.
func FuzzVerify(f *testing.F) {
	const name = "42cfcd3545f4.2imj07zrx20yw.europe-west1.sql.goog"
	f.Add("my-project:my-db", "", "", "my-project:my-db", "", "")
	f.Add("", name+".", "b.example.com", "my-project:my-db", name, "")
	f.Add("", "*.example.com", "", "my-project:my-db", "a.b.example.com", "DB.example.com.")
	f.Add("", "", "", "", "", "")
	f.Add("", ".", "*", "", "..", ".")
	f.Add("", "*.", "*.*.com", "", "*.*.com", "*")
	f.Add("", "10.0.0.1", "::1", "", "[10.0.0.1]", "::1")
	f.Add("example.com", "xn--bcher-kva.example", "", "x", "b\u00fccher.example", "db.\u212Aom")
	f.Add("a", "a..", "-a.b_c", "A", "a.", "-A.B_C")

	f.Fuzz(func(t *testing.T, cn, san1, san2, wantCN, wantName, dialled string) {
		p := pki()
		leaf, err := tryIssue(p.legacy, server(cn, san1, san2))
		if err != nil {
			t.Skip("no such certificate: ", err)
		}
		id := Identity{Anchors: pool(p.legacy), CommonName: wantCN, DNSNames: []string{wantName}}
		err = id.Verify([]*x509.Certificate{leaf.cert}, dialled, now)

		named := wantCN != "" && leaf.cert.Subject.CommonName == wantCN
		if named && err != nil {
			t.Errorf("refused, though it has the common name %q: %v", wantCN, err)
		}
		for _, san := range leaf.cert.DNSNames {
			named = named || matches(san, wantName) || matches(san, dialled)
		}
		if err == nil && !named {
			t.Errorf("accepted: common name %q, SANs %q for %q, %q, dialled %q",
				leaf.cert.Subject.CommonName, leaf.cert.DNSNames, wantCN, wantName, dialled)
		}
		if err != nil && err.Error() == "" {
			t.Error("an error without a text")
		}

		// The same names in somebody else's certificate never do.
		foreign, err := tryIssue(p.foreign, server(cn, san1, san2))
		if err != nil {
			t.Fatal(err)
		}
		if id.Verify([]*x509.Certificate{foreign.cert, p.foreign.cert}, dialled, now) == nil {
			t.Errorf("accepted from a foreign CA: common name %q, SANs %q", cn, leaf.cert.DNSNames)
		}
	})
}

// matches reports whether san, with its first label possibly a wildcard, is
// name, apart from trailing dots and the case of ASCII letters.
func matches(san, name string) bool {
	san, name = plain(san), plain(name)
	if san == "" || name == "" {
		return false
	}
	if san == name {
		return true
	}
	parent, wild := strings.CutPrefix(san, "*.")
	first, rest, _ := strings.Cut(name, ".")
	return wild && first != "" && rest != "" && rest == parent
}

func plain(name string) string {
	b := []byte(strings.TrimRight(name, "."))
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
