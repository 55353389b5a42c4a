package admin

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/answer"
	"github.com/cloudsqlconn/cloudsqlconn/internal/auth"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqladmin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/tlsverify"
)

// Info is what it takes to connect to one instance. It is immutable.
type Info struct {
	// Asked is when the metadata was asked for: what the instance has changed to
	// since then need not be in it.
	Asked time.Time

	// DatabaseVersion is the engine and its version, such as POSTGRES_16. It
	// can be empty.
	DatabaseVersion string

	// Addrs are where the instance can be reached.
	Addrs Addrs

	// Nodes are the addresses of each node of a read pool. Empty for other
	// instances.
	Nodes []Addrs

	// MetadataExchange reports whether the server understands a metadata
	// exchange that tells the client's protocol.
	MetadataExchange bool

	// Certificate is the client certificate's leaf.
	Certificate *x509.Certificate

	// ClockOffset is how far this machine's clock was ahead of the API's. Zero
	// if the API did not tell.
	ClockOffset time.Duration

	// Expiry is when the certificate, or the login token in it, expires.
	Expiry time.Time

	// Login is the credentials that the certificate logs in with. Nil: they are
	// not known, or it is not for IAM login.
	Login *auth.Origin

	tls           *tls.Config
	verifyAnyName func(tls.ConnectionState) error // whatever name was dialled
	serverCA      string                          // PEM
}

// SameMetadata reports whether the instance has not changed between i and
// other: neither its addresses nor its server CA.
func (i *Info) SameMetadata(other *Info) bool {
	return i.serverCA == other.serverCA && i.SameAddrs(other)
}

// SameAddrs reports whether i and other lead to the same addresses.
func (i *Info) SameAddrs(other *Info) bool {
	return reflect.DeepEqual(i.Addrs, other.Addrs) && reflect.DeepEqual(i.Nodes, other.Nodes)
}

// HasAddrs reports whether all addresses of other are i's too.
func (i *Info) HasAddrs(other *Info) bool {
	mine := i.hosts()
	return !slices.ContainsFunc(other.hosts(), func(host string) bool { return !slices.Contains(mine, host) })
}

func (i *Info) hosts() (all []string) {
	for _, a := range append([]Addrs{i.Addrs}, i.Nodes...) {
		for _, hosts := range a {
			all = append(all, hosts...)
		}
	}
	return all
}

// TLS returns the configuration for a connection to the instance. domain is
// the DNS name that the caller asked for, or empty; the server's certificate must
// be for it then, or, with anyName, for one of the names in the metadata.
func (i *Info) TLS(domain string, anyName bool) *tls.Config {
	if domain == "" || domain == i.tls.ServerName {
		return i.tls
	}
	cfg := i.tls.Clone()
	cfg.ServerName = domain
	if anyName {
		cfg.VerifyConnection = i.verifyAnyName
	}
	return cfg
}

// InnerTLS returns the configuration for a TLS session that the database speaks
// with the client inside the tunnel, with a certificate of the same server CA.
func (i *Info) InnerTLS() *tls.Config {
	cfg := i.tls.Clone()
	cfg.MinVersion = tls.VersionTLS12 // of SQL Server before 2022
	cfg.GetClientCertificate = nil    // it authorises the tunnel, not the login
	cfg.ClientSessionCache = nil      // a session belongs to its server
	return cfg
}

// newInfo checks every field of a reply: each may be absent or garbage.
func newInfo(inst Instance, s *sqladmin.ConnectSettings, cert tls.Certificate) (*Info, error) {
	if err := checkBackend(s); err != nil {
		return nil, err
	}
	if s.Region != "" && s.Region != inst.Region {
		right := answer.OneLine(inst.Project+":"+s.Region+":"+inst.ID, maxText)
		return nil, &ConfigError{
			Problem: fmt.Sprintf("the instance is in region %s, not in %s; use %s", s.Region, inst.Region, right),
			Hint:    fmt.Sprintf("Dial %q: the middle part of the name is the instance's region.", right),
		}
	}
	anchors, err := parseAnchors(s.ServerCaCert)
	if err != nil {
		return nil, err
	}
	identity := &tlsverify.Identity{
		Anchors:    anchors,
		CommonName: inst.Project + ":" + inst.ID,
		DNSNames:   dnsNames(s),
		CAMode:     s.ServerCaMode,
		Memory:     new(tlsverify.Memory),
	}
	anyName := *identity
	anyName.AnyName = true
	return &Info{
		DatabaseVersion: s.DatabaseVersion,
		Addrs:           addrs(s.IPAddresses, pscNames(s.PscEnabled, s.DNSNames, s.DNSName)),
		Nodes:           nodes(s),
		// The API's documentation: a server whose list is empty must not be
		// sent one.
		MetadataExchange: slices.Contains(s.MdxProtocolSupport, "CLIENT_PROTOCOL_TYPE"),
		Certificate:      cert.Leaf,
		tls:              newTLSConfig(identity, cert),
		verifyAnyName:    verifier(&anyName),
		serverCA:         s.ServerCaCert.Cert,
	}, nil
}

func verifier(identity *tlsverify.Identity) func(tls.ConnectionState) error {
	return func(cs tls.ConnectionState) error {
		return identity.Verify(cs.PeerCertificates, cs.ServerName, time.Now().UTC())
	}
}

// newTLSConfig returns the configuration for all connections made with cert.
// Its session cache lives and dies with it, so that a session never meets a
// newer CA or certificate.
func newTLSConfig(identity *tlsverify.Identity, cert tls.Certificate) *tls.Config {
	cfg := &tls.Config{
		MinVersion: tls.VersionTLS13,
		// The standard check cannot express Cloud SQL's rule for names;
		// VerifyConnection does all of it, on resumed connections too.
		InsecureSkipVerify: true,
		VerifyConnection:   verifier(identity),
		// Unconditional, where Certificates would withhold a certificate that
		// does not fit the server's list of CAs.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &cert, nil
		},
		ClientSessionCache: tls.NewLRUClientSessionCache(0),
	}
	if len(identity.DNSNames) > 0 {
		cfg.ServerName = strings.TrimSuffix(identity.DNSNames[0], ".")
	}
	return cfg
}

// parseAnchors reads the server CA's certificates: one or several, in PEM.
func parseAnchors(c *sqladmin.SslCert) (*x509.CertPool, error) {
	const field = "connectSettings.serverCaCert.cert"
	if c == nil || strings.TrimSpace(c.Cert) == "" {
		return nil, &ReplyError{Field: field, Problem: "is empty"}
	}
	var errs error
	pool, found := x509.NewCertPool(), 0
	for rest := []byte(c.Cert); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != pemCertificate {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			errs = errors.Join(errs, err)
			continue
		}
		pool.AddCert(cert)
		found++
	}
	if found == 0 {
		return nil, &ReplyError{Field: field, Problem: "has no readable PEM certificate", Err: errs}
	}
	return pool, nil
}

// dnsNames are all DNS names of the instance and of its nodes, those of the
// newer field first, and those that its owner has had put into the certificate
// last.
func dnsNames(s *sqladmin.ConnectSettings) []string {
	names := appendNames(nil, s.DNSNames, s.DNSName)
	for _, n := range s.Nodes {
		if n != nil {
			names = appendNames(names, n.DNSNames, n.DNSName)
		}
	}
	return append(names, s.CustomSubjectAlternativeNames...)
}

func appendNames(names []string, mappings []*sqladmin.DNSNameMapping, legacy string) []string {
	for _, m := range mappings {
		if m != nil && m.Name != "" {
			names = append(names, m.Name)
		}
	}
	if legacy != "" && !slices.Contains(names, legacy) {
		names = append(names, legacy)
	}
	return names
}
