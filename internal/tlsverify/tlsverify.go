// Package tlsverify proves that a server certificate belongs to one Cloud SQL
// instance: pure functions. It knows nothing of connections.
package tlsverify

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// Identity is what the certificate of one instance must prove. Its methods are
// safe for concurrent use.
type Identity struct {
	// Anchors are the certificates that the Admin API names as the instance's
	// server CA. In the legacy form one of them can be the leaf itself.
	Anchors *x509.CertPool

	// CommonName is project:instance. A certificate passes by it when none of
	// the DNS names matches: older instances have no SAN, and metadata can
	// name a DNS name that the certificate does not have yet.
	CommonName string

	// DNSNames are the names in the instance's metadata.
	DNSNames []string

	// AnyName makes them count when the caller has dialled another DNS name.
	AnyName bool

	// CAMode is the metadata's serverCaMode. Only the error shows it.
	CAMode string

	// Memory, if not nil, spares verifying a chain again that has been good. It
	// belongs to these Anchors.
	Memory *Memory
}

// Memory is what is known of the chain that was good last.
type Memory struct{ last atomic.Pointer[proof] }

// proof is that a certificate leads to an anchor. Whatever comes with it in
// another handshake, that stays true for as long as its chain is valid.
type proof struct {
	leaf        *x509.Certificate
	from, until time.Time // the whole chain is valid
}

// holds reports whether p is about leaf, and holds now.
func (p *proof) holds(leaf *x509.Certificate, now time.Time) bool {
	return p != nil && p.leaf.Equal(leaf) && !now.Before(p.from) && !now.After(p.until)
}

// Error says why a certificate chain was refused.
type Error struct {
	Expected []string // DNS names and the common name, any of which would do
	CAMode   string

	CommonName string   // of the leaf
	DNSNames   []string // SANs of the leaf

	// SHA1 is set if the certificate names the instance, and is refused for its
	// signature: crypto/x509 does not say so.
	SHA1 bool

	// Unlisted is set if the certificate is the instance's by another name than
	// the one that was dialled.
	Unlisted bool

	Err error // what is wrong with the chain; nil if only the names are
}

// Error is one line with what was expected and what the certificate has.
func (e *Error) Error() string {
	problem := "is for another server"
	if e.Unlisted {
		problem = "is the instance's, but not for the DNS name that was dialled"
	}
	if e.Err != nil {
		problem = "is not acceptable: " + e.Err.Error()
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](e.Err); ok {
		problem = "does not chain to the instance's server CA: " + e.Err.Error()
	}
	if e.SHA1 {
		problem = "is signed with SHA-1, which proves nothing any more: " + e.Err.Error()
	}
	return fmt.Sprintf("server certificate %s; expected one of %q, found common name %q and DNS names %q (CA mode %s)",
		problem, e.Expected, e.CommonName, e.DNSNames, e.CAMode)
}

// Unwrap returns the error of crypto/x509, or nil.
func (e *Error) Unwrap() error { return e.Err }

var errNoCertificate = errors.New("the server sent none")

// Verify checks the certificates of a handshake, leaf first, at the time now.
// dialled is the DNS name that the caller asked for, or empty. All failures
// are an [*Error].
//
// A certificate passes if it leads to an anchor, is valid now, may
// authenticate a server, and has an expected DNS name as SAN (in any letter
// case, with or without a trailing dot) or exactly the expected common name. The
// DNS name that is expected is the one dialled, if that is none of the metadata's.
func (id *Identity) Verify(certs []*x509.Certificate, dialled string, now time.Time) error {
	if len(certs) == 0 {
		return &Error{Expected: id.expected(dialled), CAMode: id.caMode(), Err: errNoCertificate}
	}
	leaf := certs[0]
	refuse := func(err error) error {
		return &Error{
			Expected:   id.expected(dialled),
			CAMode:     id.caMode(),
			CommonName: leaf.Subject.CommonName,
			DNSNames:   leaf.DNSNames,
			SHA1:       err != nil && isSHA1(leaf) && id.isNamedBy(leaf, dialled),
			Unlisted:   err == nil && id.isNamedBy(leaf, ""),
			Err:        err,
		}
	}

	if err := id.verifyChain(leaf, certs[1:], now); err != nil {
		return refuse(err)
	}
	if !id.isNamedBy(leaf, dialled) {
		return refuse(nil)
	}
	return nil
}

func isSHA1(c *x509.Certificate) bool {
	return c.SignatureAlgorithm == x509.SHA1WithRSA || c.SignatureAlgorithm == x509.ECDSAWithSHA1
}

// isNamedBy reports whether leaf has an expected name.
func (id *Identity) isNamedBy(leaf *x509.Certificate, dialled string) bool {
	if id.CommonName != "" && leaf.Subject.CommonName == id.CommonName {
		return true
	}
	sans := x509.Certificate{DNSNames: make([]string, len(leaf.DNSNames))}
	for i, san := range leaf.DNSNames {
		sans.DNSNames[i] = undotted(san)
	}
	return slices.ContainsFunc(id.names(dialled), func(name string) bool { return sans.VerifyHostname(name) == nil })
}

// verifyChain checks that leaf leads to an anchor, or remembers that it does:
// an instance shows the same certificate for months. The other certificates of
// the handshake are only looked at if the anchors alone do not do: mostly they
// are the same, and crypto/x509 would check each signature twice.
func (id *Identity) verifyChain(leaf *x509.Certificate, others []*x509.Certificate, now time.Time) error {
	if id.Memory != nil && id.Memory.last.Load().holds(leaf, now) {
		return nil
	}
	opts := x509.VerifyOptions{
		Roots:       id.Anchors,
		CurrentTime: now,
		KeyUsages:   []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if opts.Roots == nil {
		opts.Roots = x509.NewCertPool() // nil would mean the system's roots
	}
	chains, err := leaf.Verify(opts)
	if err != nil && len(others) > 0 {
		opts.Intermediates = x509.NewCertPool()
		for _, c := range others {
			opts.Intermediates.AddCert(c)
		}
		chains, err = leaf.Verify(opts)
	}
	if err == nil && id.Memory != nil {
		id.Memory.last.Store(newProof(chains[0]))
	}
	return err
}

// newProof is what a good chain proves of its leaf.
func newProof(chain []*x509.Certificate) *proof {
	p := &proof{leaf: chain[0], from: chain[0].NotBefore, until: chain[0].NotAfter}
	for _, c := range chain[1:] {
		if c.NotBefore.After(p.from) {
			p.from = c.NotBefore
		}
		if c.NotAfter.Before(p.until) {
			p.until = c.NotAfter
		}
	}
	return p
}

// names are the expected DNS names, each once: a name of the metadata stands for
// all of them, any other for itself.
func (id *Identity) names(dialled string) []string {
	isDialled := func(name string) bool { return strings.EqualFold(undotted(name), undotted(dialled)) }
	if undotted(dialled) != "" && !id.AnyName && !slices.ContainsFunc(id.DNSNames, isDialled) {
		return []string{undotted(dialled)}
	}
	var names []string
	for _, n := range append([]string{dialled}, id.DNSNames...) {
		if n = undotted(n); n != "" && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names
}

func (id *Identity) expected(dialled string) []string {
	if id.CommonName == "" {
		return id.names(dialled)
	}
	return append(id.names(dialled), id.CommonName)
}

func (id *Identity) caMode() string {
	if id.CAMode == "" {
		return "not given"
	}
	return id.CAMode
}

// undotted is name without a trailing dot: real certificates have SANs with
// one, which crypto/x509 matches only to the letter.
func undotted(name string) string {
	return strings.TrimSuffix(name, ".")
}
