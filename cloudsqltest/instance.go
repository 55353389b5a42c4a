package cloudsqltest

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"maps"
	"net"
	"slices"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
)

// Instance describes an emulated instance. The zero value is a PostgreSQL
// instance with a public and a private address that echoes what it receives.
type Instance struct {
	// DatabaseVersion is what the Admin API reports. Default: POSTGRES_16.
	DatabaseVersion string

	// Backend is the database server behind the instance: host:port, or the
	// path of a unix socket.
	//
	// MySQL holds a unix socket for secure, and hands out no RSA key there: a
	// client whose way is not secure to its knowledge, one without a metadata
	// exchange and without TLS of MySQL's own, cannot log in over it with
	// caching_sha2_password, unless the server remembers the password. Name a
	// TCP port; a socket is good for users without a password, see IAMBackend.
	// Over TCP the instance uses the server's TLS for clients that have told TLS
	// or UDS in a metadata exchange.
	Backend string

	// IAMBackend, if set, is where connections go whose certificate carries a
	// login token. A real server has no IAM: let it trust its unix socket and
	// ask for passwords on TCP, and only IAM logins pass without one.
	IAMBackend string

	// IAMUsers are the principals that may log in with IAM, if they have to be
	// known: see [Server.Principals]. Default: all of them.
	IAMUsers []string

	// SQLData makes the instance one that SQL Data serves, as it does those of
	// the edition DEVELOPER: see [Server.ServeSQLData]. Default: it is refused
	// there.
	SQLData bool

	// Pooler, if not nil, puts managed connection pooling in front of a
	// PostgreSQL instance, as far as IAM logins are concerned.
	Pooler *Pooler

	// Handler serves connections if Backend is empty, each in a goroutine of
	// its own. Its argument is a [*Conn], decrypted, or a [*StreamConn] if the
	// client has come through SQL Data. It is closed when Handler returns.
	// It must return when the connection has ended. A panic in it is
	// not recovered. Default: echo.
	Handler func(net.Conn)

	// Addrs are the instance's addresses: IP addresses, for PSC a DNS name. An
	// address leads to the instance that took it last. Default: a public and a
	// private address of its own, in 127.0.0.0/8.
	Addrs map[cloudsqlconn.IPType]string

	// Nodes make the instance a read pool: the metadata has them beside the
	// instance's own addresses. [Proxy.Nodes] returns them.
	Nodes []Node

	// ListenOn3307 makes the instance listen on port 3307 of its default
	// addresses, for connectors that know no dial function. It needs a
	// [NewServer] and Linux, where all of 127.0.0.0/8 is there; otherwise
	// AddInstance panics. A name for PSC, which SetAddrs can add, must resolve to
	// one of the other addresses. Any number of servers and processes can do so at the
	// same time.
	ListenOn3307 bool

	// CAMode is the form of the server's certificate. Default: LegacyCA.
	CAMode CAMode

	// DNSNames are names of the instance: in the metadata, and in the server's
	// certificate. Default: with LegacyCA none in the metadata, and in the
	// certificate one of its own; otherwise a generated one with a trailing dot.
	// Those under sql-psa.goog are of private services access, and never stand in
	// the older field dnsName; those under sql-psc.goog are of Private Service
	// Connect; those of the region global are write endpoints.
	DNSNames []string

	// AlterSettings, if not nil, changes each answer to connectSettings and
	// resolveConnectSettings: the fields of its JSON, such as an address's
	// timeToRetire, customSubjectAlternativeNames, or some that no client knows.
	// It is called from many goroutines at once.
	AlterSettings func(settings map[string]any)

	// CertTTL is the life of client certificates. A negative one makes them
	// expired. Default: the validDuration of the request, or one hour.
	CertTTL time.Duration

	// ClockSkew is how far the instance's clock is ahead of the Admin API's.
	ClockSkew time.Duration

	// AlterServerCert, if not nil, changes each server certificate before it is
	// signed: its names, SerialNumber, NotBefore, NotAfter, ExtKeyUsage.
	AlterServerCert func(*x509.Certificate)

	// ServerCert, if not nil, is what the instance shows in place of a certificate
	// of its own CA, whatever rotates. AlterSettings can tell clients its CA.
	ServerCert *tls.Certificate

	// AlterClientCert, if not nil, changes each client certificate before it is
	// signed.
	AlterClientCert func(*x509.Certificate)

	// RootAnchorOnly leaves the intermediate out of the metadata's
	// serverCaCert, in the CAS forms: it comes in the handshake alone.
	RootAnchorOnly bool

	// NoSessionTickets keeps clients from resuming TLS sessions.
	NoSessionTickets bool

	// MetadataExchange is what the instance makes of what clients tell about
	// themselves. Default: it does not know the metadata exchange.
	MetadataExchange MetadataExchange
}

// CAMode is an instance's serverCaMode.
type CAMode string

// The forms of server certificate, as those of 2026 look. RSA keys are shared by
// all instances of a process.
const (
	// LegacyCA is a CA of the instance's own, with RSA 2048, the serial number 0 and
	// a dnQualifier. The certificate has the common name project:instance, lives for
	// ten years, and has no extended key usage.
	LegacyCA CAMode = "GOOGLE_MANAGED_INTERNAL_CA"

	// GoogleCAS is a root and an intermediate, with ECDSA P-384. The certificate has
	// DNS names and no common name, and lives for a year.
	GoogleCAS CAMode = "GOOGLE_MANAGED_CAS_CA"

	// CustomerCAS is the same with a CA of the customer's: RSA 4096 that signs with
	// PSS, and RSA 2048 for the server. Making the first takes some seconds.
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
	if cfg.Handler == nil {
		cfg.Handler = echo
	}
	cfg.Addrs, cfg.DNSNames, cfg.Nodes = maps.Clone(cfg.Addrs), slices.Clone(cfg.DNSNames), slices.Clone(cfg.Nodes)
	cfg.IAMUsers = slices.Clone(cfg.IAMUsers)
	return cfg
}

// echo is the default handler.
func echo(c net.Conn) {
	_, _ = io.Copy(c, c)
}
