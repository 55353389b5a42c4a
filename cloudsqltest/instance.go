package cloudsqltest

import (
	"crypto/x509"
	"io"
	"maps"
	"net"
	"time"

	"google.golang.org/api/sqladmin/v1beta4"

	"github.com/cloudsqlconn/cloudsqlconn"
)

// Instance describes an emulated instance. The zero value is a PostgreSQL
// instance with a public and a private address that echoes what it receives.
type Instance struct {
	// DatabaseVersion is what the Admin API reports. Default: POSTGRES_16.
	DatabaseVersion string

	// Backend is the database server behind the instance: host:port, or the
	// path of a unix socket.
	Backend string

	// IAMBackend, if set, is where connections go whose certificate carries a
	// login token. A real server has no IAM: let it trust its unix socket and
	// ask for passwords on TCP, and only IAM logins pass without one.
	IAMBackend string

	// Handler serves connections if Backend is empty. Its argument is a
	// [*Conn]; the connection is closed when it returns. Default: echo.
	Handler func(net.Conn)

	// Addrs are the instance's addresses: IP addresses, for PSC a DNS name.
	// Default: a public and a private address of its own, in 127.0.0.0/8.
	Addrs map[cloudsqlconn.IPType]string

	// ListenOn3307 makes the instance listen on port 3307 of its default
	// addresses, for connectors that know no dial function. Linux only, where
	// all of 127.0.0.0/8 is there.
	ListenOn3307 bool

	// CAMode is the form of the server's certificate. Default: LegacyCA.
	CAMode CAMode

	// DNSNames are names of the instance: in the metadata, and in the server's
	// certificate. Default: none with LegacyCA, otherwise a generated one with
	// a trailing dot.
	DNSNames []string

	// CertTTL is the life of client certificates. Default: one hour.
	CertTTL time.Duration

	// ClockSkew is how far the instance's clock is ahead of the Admin API's.
	ClockSkew time.Duration

	// AlterServerCert, if not nil, changes the server certificate before it is
	// signed.
	AlterServerCert func(*x509.Certificate)

	// RootAnchorOnly leaves the intermediate out of the metadata's
	// serverCaCert, in the CAS forms: it comes in the handshake alone.
	RootAnchorOnly bool

	// NoSessionTickets keeps clients from resuming TLS sessions.
	NoSessionTickets bool
}

// CAMode is an instance's serverCaMode.
type CAMode string

// The forms of server certificate. The CAS forms look alike.
const (
	LegacyCA      CAMode = "GOOGLE_MANAGED_INTERNAL_CA" // a CA of its own, common name project:instance
	GoogleCAS     CAMode = "GOOGLE_MANAGED_CAS_CA"      // root and intermediate, DNS names, empty common name
	CustomerCAS   CAMode = "CUSTOMER_MANAGED_CAS_CA"    // the same, with the customer's CA
	UnspecifiedCA CAMode = "CA_MODE_UNSPECIFIED"        // equivalent to LegacyCA
)

func (m CAMode) isCAS() bool { return m == GoogleCAS || m == CustomerCAS }

// withDefaults returns a copy with everything filled in that does not depend
// on addresses.
func (cfg Instance) withDefaults(region string) Instance {
	if cfg.DatabaseVersion == "" {
		cfg.DatabaseVersion = "POSTGRES_16"
	}
	if cfg.CAMode == "" {
		cfg.CAMode = LegacyCA
	}
	if cfg.CAMode.isCAS() && cfg.DNSNames == nil {
		cfg.DNSNames = []string{randomHex(6) + "." + randomHex(6) + "." + region + ".sql.goog."}
	}
	if cfg.CertTTL == 0 {
		cfg.CertTTL = time.Hour
	}
	if cfg.Handler == nil {
		cfg.Handler = echo
	}
	cfg.Addrs = maps.Clone(cfg.Addrs)
	return cfg
}

// certificateNames are the SANs of the server's certificate.
func (cfg *Instance) certificateNames() []string {
	names := append([]string(nil), cfg.DNSNames...)
	if psc := cfg.Addrs[cloudsqlconn.PSC]; psc != "" {
		names = append(names, psc)
	}
	return names
}

// settings is the answer to connectSettings.
func (p *Proxy) settings() *sqladmin.ConnectSettings {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &sqladmin.ConnectSettings{
		Kind:            "sql#connectSettings",
		BackendType:     "SECOND_GEN",
		DatabaseVersion: p.cfg.DatabaseVersion,
		Region:          p.name.Region(),
		ServerCaMode:    string(p.cfg.CAMode),
		ServerCaCert:    sslCert(p.identity.issuer, p.id, p.identity.anchors),
		IpAddresses:     []*sqladmin.IpMapping{{Type: "OUTGOING", IpAddress: "127.3.0.1"}},
	}
	if ip := p.addrs[cloudsqlconn.PublicIP]; ip != "" {
		s.IpAddresses = append(s.IpAddresses, &sqladmin.IpMapping{Type: "PRIMARY", IpAddress: ip})
	}
	if ip := p.addrs[cloudsqlconn.PrivateIP]; ip != "" {
		s.IpAddresses = append(s.IpAddresses, &sqladmin.IpMapping{Type: "PRIVATE", IpAddress: ip})
	}
	for _, name := range p.cfg.DNSNames {
		s.DnsNames = append(s.DnsNames, &sqladmin.DnsNameMapping{Name: name, ConnectionType: "PUBLIC", DnsScope: "INSTANCE", RecordManager: "CLOUD_SQL_AUTOMATION"})
	}
	if psc := p.addrs[cloudsqlconn.PSC]; psc != "" {
		s.PscEnabled = true
		s.DnsName = psc + "."
		s.DnsNames = append(s.DnsNames, &sqladmin.DnsNameMapping{Name: psc + ".", ConnectionType: "PRIVATE_SERVICE_CONNECT", DnsScope: "INSTANCE", RecordManager: "CUSTOMER"})
	} else if len(p.cfg.DNSNames) > 0 {
		s.DnsName = p.cfg.DNSNames[0]
	}
	return s
}

// echo is the default handler.
func echo(c net.Conn) {
	_, _ = io.Copy(c, c)
}
