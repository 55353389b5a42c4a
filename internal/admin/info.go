package admin

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/api/sqladmin/v1beta4"

	"github.com/cloudsqlconn/cloudsqlconn/internal/tlsverify"
)

// The kinds of address that an instance can have.
const (
	Public  = "PUBLIC"
	Private = "PRIVATE"
	PSC     = "PSC"
)

// Info is what it takes to connect to one instance. It is immutable.
type Info struct {
	// DatabaseVersion is the engine and its version, such as POSTGRES_16. It
	// can be empty.
	DatabaseVersion string

	// Addrs are IP addresses, or for PSC DNS names without a trailing dot, by
	// kind. The first of a kind is to be preferred.
	Addrs map[string][]string

	// Certificate is the client certificate's leaf.
	Certificate *x509.Certificate

	tls *tls.Config
}

// SupportsIAM reports whether the engine has IAM login.
func (i *Info) SupportsIAM() bool {
	return !strings.HasPrefix(i.DatabaseVersion, "SQLSERVER")
}

// TLS returns the configuration for a connection to the instance. domain is
// the DNS name that the caller asked for, or empty; the server's certificate
// may be for it as well as for the names in the metadata.
func (i *Info) TLS(domain string) *tls.Config {
	if domain == "" || domain == i.tls.ServerName {
		return i.tls
	}
	cfg := i.tls.Clone()
	cfg.ServerName = domain
	return cfg
}

// newInfo checks every field of a reply: each may be absent or garbage.
func newInfo(inst Instance, s *sqladmin.ConnectSettings, cert tls.Certificate) (*Info, error) {
	if s.BackendType != "" && s.BackendType != "SECOND_GEN" {
		return nil, &ConfigError{Problem: fmt.Sprintf("the instance's backend type is %s; only SECOND_GEN instances can be connected to", s.BackendType)}
	}
	if s.Region != "" && s.Region != inst.Region {
		return nil, &ConfigError{Problem: fmt.Sprintf("the instance is in region %s, not in %s; use %s:%s:%s",
			s.Region, inst.Region, inst.Project, s.Region, inst.ID)}
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
	}
	return &Info{
		DatabaseVersion: s.DatabaseVersion,
		Addrs:           addrs(s),
		Certificate:     cert.Leaf,
		tls:             newTLSConfig(identity, cert),
	}, nil
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
		VerifyConnection: func(cs tls.ConnectionState) error {
			return identity.Verify(cs.PeerCertificates, cs.ServerName, time.Now())
		},
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

// dnsNames are all DNS names of the instance, those of the newer field first.
func dnsNames(s *sqladmin.ConnectSettings) []string {
	var names []string
	for _, m := range s.DnsNames {
		if m != nil && m.Name != "" {
			names = append(names, m.Name)
		}
	}
	if s.DnsName != "" && !slices.Contains(names, s.DnsName) {
		names = append(names, s.DnsName)
	}
	return names
}

// addrs are the addresses that can be dialled. Of several public or private
// ones the last counts, as in Google's connectors; PSC needs pscEnabled, since
// instances without PSC have a DNS name too.
func addrs(s *sqladmin.ConnectSettings) map[string][]string {
	found := map[string][]string{}
	for _, m := range s.IpAddresses {
		switch {
		case m == nil || m.IpAddress == "":
		case m.Type == "PRIMARY":
			found[Public] = []string{m.IpAddress}
		case m.Type == "PRIVATE":
			found[Private] = []string{m.IpAddress}
		}
	}
	if psc := pscNames(s); len(psc) > 0 {
		found[PSC] = psc
	}
	return found
}

// pscNames are the instance's own PSC names without their dot, those under
// sql-psc.goog first.
func pscNames(s *sqladmin.ConnectSettings) []string {
	if !s.PscEnabled {
		return nil
	}
	var names []string
	for _, m := range s.DnsNames {
		if m != nil && m.ConnectionType == "PRIVATE_SERVICE_CONNECT" && m.DnsScope == "INSTANCE" {
			names = appendName(names, m.Name)
		}
	}
	if len(names) == 0 {
		names = appendName(names, s.DnsName)
	}
	slices.SortStableFunc(names, func(a, b string) int {
		return rank(a) - rank(b)
	})
	return names
}

// appendName appends name without its dot, unless nothing is left: dialling ""
// would be dialling this machine.
func appendName(names []string, name string) []string {
	if name = strings.TrimSuffix(name, "."); name == "" {
		return names
	}
	return append(names, name)
}

func rank(pscName string) int {
	if strings.HasSuffix(strings.ToLower(pscName), ".sql-psc.goog") {
		return 0
	}
	return 1
}
