package cloudsqltest

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"maps"
	"net"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
)

// Instance describes an emulated instance. The zero value is a PostgreSQL
// instance with a public and a private address that echoes what it receives.
type Instance struct {
	// DatabaseVersion is what the Admin API reports, such as MYSQL_8_4 or
	// SQLSERVER_2022_STANDARD. Default: POSTGRES_16.
	DatabaseVersion string

	// Backend is the database server behind the instance: host:port, or the
	// path of a unix socket.
	//
	// MySQL considers a unix socket secure, and hands out no RSA key there: a
	// client that does not know its connection to be secure, having neither made a
	// metadata exchange nor used MySQL's own TLS, cannot log in over it with
	// caching_sha2_password, unless the server remembers the password. Name a
	// TCP port; a socket is fine for users without a password, see IAMBackend.
	// Over TCP the instance uses the server's TLS for clients that have announced
	// TLS or UDS in a metadata exchange.
	Backend string

	// IAMBackend, if set, is where connections go whose certificate carries a
	// login token. A real server has no IAM: have it trust its unix socket and ask
	// for passwords on TCP, so that only IAM logins are let in without one.
	IAMBackend string

	// IAMUsers are the principals that may log in with IAM, if not all of them
	// may: see [Server.Principals]. Default: all of them.
	IAMUsers []string

	// AnyIAMUser lets an IAM login in as any user, whoever its principal is. By
	// default IAMUsers and [Server.Principals] say who may log in, and as whom.
	AnyIAMUser bool

	// SQLData makes SQL Data serve the instance, as it does those of the edition
	// DEVELOPER: see [Server.ServeSQLData]. Default: SQL Data refuses it.
	SQLData bool

	// Pooler, if not nil, puts managed connection pooling in front of a
	// PostgreSQL instance, as far as IAM logins are concerned.
	Pooler *Pooler

	// Handler serves connections if Backend is empty, each in a goroutine of
	// its own. Its argument is a [*Conn], decrypted, or a [*StreamConn] if the
	// client has connected through SQL Data, and is closed when Handler returns.
	// Handler must return when the connection has ended. A panic in it is not
	// recovered. Default: [Echo], and a line in the log at the first connection.
	Handler func(net.Conn)

	// Addrs are the instance's addresses: IP addresses, for PSC a DNS name. An
	// address belongs to the instance that took it last. Default: a public and a
	// private address of its own, in 127.0.0.0/8.
	Addrs map[cloudsqlconn.IPType]string

	// Nodes make the instance a read pool: the metadata lists them alongside the
	// instance's own addresses. [EmulatedInstance.Nodes] returns them.
	Nodes []Node

	// ListenOn3307 makes the instance listen on port 3307 of its default
	// addresses, for connectors that take no dial function. It needs a
	// [NewServer] and Linux, where all of 127.0.0.0/8 is available; otherwise
	// AddInstance panics. A name for PSC, which SetAddrs can add, must resolve to
	// one of the other addresses. Any number of servers and processes can do so at
	// the same time.
	ListenOn3307 bool

	// CAMode is the kind of the server's CA and certificate. Default: LegacyCA.
	CAMode CAMode

	// DNSNames are names of the instance: in the metadata, and in the server's
	// certificate. Default: with LegacyCA none in the metadata, and in the
	// certificate one of its own; otherwise a generated one with a trailing dot.
	// Those under sql-psa.goog are for private services access, and never appear in
	// the older field dnsName; those under sql-psc.goog are for Private Service
	// Connect; those of the region global are write endpoints.
	DNSNames []string

	// AlterSettings, if not nil, changes each answer to connectSettings and
	// resolveConnectSettings: the fields of its JSON, such as an address's
	// timeToRetire, customSubjectAlternativeNames, or fields unknown to any client.
	// It is called from many goroutines at once.
	AlterSettings func(settings map[string]any)

	// CertTTL is the lifetime of client certificates. If it is negative, they have
	// expired from the start. Default: the validDuration of the request, or one hour.
	CertTTL time.Duration

	// ClockSkew is how far the instance's clock is ahead of the Admin API's.
	ClockSkew time.Duration

	// AlterServerCert, if not nil, changes each server certificate before it is
	// signed: its names, SerialNumber, NotBefore, NotAfter, ExtKeyUsage.
	AlterServerCert func(*x509.Certificate)

	// ServerCert, if not nil, is what the instance presents in place of a certificate
	// from its own CA, whatever rotates. AlterSettings can tell clients its CA.
	ServerCert *tls.Certificate

	// AlterClientCert, if not nil, changes each client certificate before it is
	// signed.
	AlterClientCert func(*x509.Certificate)

	// RootAnchorOnly leaves the intermediate out of the metadata's
	// serverCaCert, in the CAS modes: it is sent in the handshake only.
	RootAnchorOnly bool

	// NoSessionTickets keeps clients from resuming TLS sessions.
	NoSessionTickets bool

	// MetadataExchange is what the instance does with what clients tell it about
	// themselves. Default: it does not support the metadata exchange.
	MetadataExchange MetadataExchange
}

// CAMode is an instance's serverCaMode.
type CAMode string

// The kinds of server CA and certificate, as they look in 2026. RSA keys are shared
// by all instances of a process.
const (
	// LegacyCA is a CA of the instance's own, with RSA 2048, the serial number 0 and
	// a dnQualifier. The certificate has the common name project:instance, is valid
	// for ten years, and has no extended key usage.
	LegacyCA CAMode = "GOOGLE_MANAGED_INTERNAL_CA"

	// GoogleCAS is a root and an intermediate, with ECDSA P-384. The certificate has
	// DNS names and no common name, and is valid for a year.
	GoogleCAS CAMode = "GOOGLE_MANAGED_CAS_CA"

	// CustomerCAS is the same with a CA of the customer's: RSA 4096 that signs with
	// PSS, and RSA 2048 for the server. Generating the first takes some seconds.
	CustomerCAS CAMode = "CUSTOMER_MANAGED_CAS_CA"

	// UnspecifiedCA is equivalent to LegacyCA.
	UnspecifiedCA CAMode = "CA_MODE_UNSPECIFIED"
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
	cfg.Addrs, cfg.DNSNames, cfg.Nodes = maps.Clone(cfg.Addrs), slices.Clone(cfg.DNSNames), slices.Clone(cfg.Nodes)
	cfg.IAMUsers = slices.Clone(cfg.IAMUsers)
	return cfg
}

// Echo is a Handler that sends back what the client sends.
func Echo(c net.Conn) {
	_, _ = io.Copy(c, c)
}

// check returns what in cfg cannot be meant.
func (cfg Instance) check() error {
	if !databaseVersion.MatchString(cfg.DatabaseVersion) {
		return fmt.Errorf("DatabaseVersion is %q; want the Admin API's name of a version, such as POSTGRES_16, MYSQL_8_4 or SQLSERVER_2022_STANDARD", cfg.DatabaseVersion)
	}
	for field, addr := range map[string]string{"Backend": cfg.Backend, "IAMBackend": cfg.IAMBackend} {
		if addr == "" || isSocket(addr) {
			continue
		}
		if _, port, err := net.SplitHostPort(addr); err != nil || port == "" {
			return fmt.Errorf("%s is %q; want host:port, such as 127.0.0.1:5432, or the path of a unix socket", field, addr)
		}
	}
	return nil
}

// databaseVersion matches a known engine's, and those of engines to come.
var databaseVersion = regexp.MustCompile(`^[A-Z]+_`)

// isSocket reports whether a backend is the path of a unix socket.
func isSocket(addr string) bool { return strings.ContainsAny(addr, `/\`) }
