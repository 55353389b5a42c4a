// Package sqlserver connects go-mssqldb to Cloud SQL for SQL Server: through
// [NewConnector] and sql.OpenDB, or [RegisterDriver] and sql.Open.
//
// The parameter cloudsql of a data source name is the instance, in all three forms
// that go-mssqldb has:
//
//	sqlserver://app:secret@localhost?database=shop&cloudsql=project:region:instance
//	server=localhost;user id=app;password=secret;database=shop;cloudsql=project:region:instance
//	odbc:server=localhost;user id=app;password={secret};database=shop;cloudsql={project:region:instance}
//
// The host, which can be left out, is never looked up and never dialled; its
// port and its SQL Server instance are ignored. cloudsql_ip_types,
// cloudsql_iam_authn and cloudsql_sql_data are the options
// [cloudsqlconn.WithIPTypes], [cloudsqlconn.WithIAMAuthN] and
// [cloudsqlconn.WithSQLData]; Cloud SQL for SQL Server has no IAM login, and as far
// as is known is not served by SQL Data.
// Everything else is go-mssqldb's, except for settings for a direct connection.
//
// # Contexts
//
// A call returns at the latest 0.15 s after its context has ended. Until then it
// waits for the server to confirm that the query is cancelled, so that the
// connection can be reused; without that, the connection leaves the pool.
// go-mssqldb alone waits for 5 s, twice.
//
// # Settings for a direct connection
//
// The connection runs inside the Dialer's TLS tunnel, so that SQL Server's own
// TLS is not necessary. If there is any, it needs no CA file: the server is verified
// to be the instance, with the server CA that the tunnel was made with.
//
//	the host, its port and its        ignored, but the host is used with authenticator=krb5
//	SQL Server instance
//	encrypt left out, =disable        SQL Server's TLS as far as it offers or enforces it
//	encrypt=true, =mandatory          SQL Server's TLS
//	encrypt=strict                    ErrConfig: the tunnel is the TLS around the protocol
//	trustservercertificate=true       any server will do inside the tunnel
//	certificate, servercertificate    what the server inside the tunnel is verified with
//	hostnameincertificate             ignored without one of these
//	tlsmin                            used
//	failoverpartner                   ErrConfig: the instance keeps its name when it fails over
//	protocol                          ErrConfig, except for tcp
//	multisubnetfailover               ignored
//	dial timeout                      used; the default is the Dialer's own
//	everything else                   as in go-mssqldb
//
// # Active Directory
//
// authenticator=krb5 logs in with Kerberos, on every system, with go-mssqldb's
// parameters: a user with a password or a krb5-keytabfile, or the
// krb5-credcachefile of kinit. The host has to be the name of the instance in the
// domain, as [ServerName] returns it. Only the domain's Kerberos servers are looked
// up; while they are being asked, the end of a context goes unnoticed.
package sqlserver

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"

	mssql "github.com/microsoft/go-mssqldb"
	"github.com/microsoft/go-mssqldb/msdsn"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/driver/internal/sqldriver"
)

// form is the hint of what is wrong with a data source name.
const form = "Write it as sqlserver://app:secret@localhost?database=shop&cloudsql=project:region:instance; the documentation of driver/sqlserver lists what else there can be."

// NewConnector returns a connector for sql.OpenDB that connects through d.
// Nothing is registered, and it remains up to the caller to close d. The data source
// name takes precedence over opts. Every error is a [*cloudsqlconn.Error] of the
// step configure: ErrBadName or ErrConfig.
func NewConnector(d *cloudsqlconn.Dialer, dsn string, opts ...cloudsqlconn.DialOption) (driver.Connector, error) {
	return sqldriver.NewConnector(dsn, func(dsn string) (sqldriver.Opener, error) { return newConnector(d, dsn, opts) })
}

func newConnector(d *cloudsqlconn.Dialer, dsn string, opts []cloudsqlconn.DialOption) (sqldriver.Opener, error) {
	c, err := configure(d, dsn, opts)
	if err != nil {
		return nil, sqldriver.ConfigError(err, form)
	}
	return c, nil
}

func configure(d *cloudsqlconn.Dialer, dsn string, opts []cloudsqlconn.DialOption) (*connector, error) {
	cfg, err := msdsn.Parse(dsn)
	if err != nil {
		return nil, err
	}
	instance := cfg.Parameters["cloudsql"]
	delete(cfg.Parameters, "cloudsql")
	if err := checkInstance(instance); err != nil {
		return nil, err
	}
	if opts, err = sqldriver.Options(d, cfg.Parameters, opts); err != nil {
		return nil, err
	}
	if err := checkConfig(&cfg); err != nil {
		return nil, fmt.Errorf("%w: %w", cloudsqlconn.ErrConfig, err)
	}
	c := &connector{dialer: d, instance: instance, opts: opts, verify: takeTLS(&cfg)}
	if cfg.Parameters["dial timeout"] == "" {
		cfg.DialTimeout = -1 // the Dialer has its own
	}
	// The name of a SQL Server instance means a look-up of its port, and a host
	// that is an address or missing a name for the server.
	cfg.Instance, cfg.Port, cfg.Protocols = "", 0, []string{"tcp"}
	if cfg.ServerSPN == "" {
		cfg.ServerSPN = "MSSQLSvc/" + cfg.Host + ":1433"
	}
	if cfg.Parameters[authenticator] == "krb5" {
		cfg.Parameters[authenticator] = kerberosProvider
	}
	c.cfg = cfg
	return c, nil
}

const authenticator = "authenticator"

// dnsName is what can be a name for a Resolver: not what it should be.
var dnsName = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?$`)

func checkInstance(s string) error {
	if s == "" {
		return fmt.Errorf("%w: the data source name has no parameter cloudsql; want cloudsql=project:region:instance", cloudsqlconn.ErrBadName)
	}
	err := sqldriver.CheckInstance(s)
	if err == nil && !dnsName.MatchString(s) {
		_, err = cloudsqlconn.ParseName(s)
	}
	if err != nil {
		return fmt.Errorf("the parameter cloudsql of the data source name: %w", err)
	}
	return nil
}

// checkConfig refuses what cannot work inside the tunnel.
func checkConfig(cfg *msdsn.Config) error {
	if cfg.Encryption == msdsn.EncryptionStrict {
		return errors.New("encrypt=strict (TLS around TDS) is not supported inside the Dialer's TLS tunnel; leave encrypt out, or use encrypt=true")
	}
	if p := cfg.Parameters["protocol"]; p != "" && p != "tcp" {
		return fmt.Errorf("the protocol is %.20q; Cloud SQL has tcp alone", p)
	}
	if cfg.FailOverPartner != "" {
		return errors.New("failoverpartner names a second server; the instance keeps its name when it fails over")
	}
	if cfg.Parameters[authenticator] == "krb5" && cfg.ServerSPN == "" && (net.ParseIP(cfg.Host) != nil || !strings.Contains(cfg.Host, ".")) {
		return errors.New("the host has no domain; with authenticator=krb5 it is the instance's name in the domain, as sqlserver.ServerName makes it")
	}
	return nil
}

// takeTLS makes cfg do TLS inside TDS, should it come to that, and reports
// whether the Dialer is to verify the server.
func takeTLS(cfg *msdsn.Config) (verify bool) {
	if cfg.TLSConfig == nil {
		// With encrypt=disable, too, go-mssqldb does TLS if the server insists;
		// without a configuration it would ask the system's CAs.
		cfg.TLSConfig, _ = msdsn.SetupTLS("", "", true, cfg.Host, cfg.Parameters["tlsmin"]) // fails on files only
	}
	t := cfg.TLSConfig
	ownCA := t.RootCAs != nil && !t.InsecureSkipVerify
	ownRule := t.VerifyConnection != nil || t.VerifyPeerCertificate != nil
	trust := cfg.Parameters["trustservercertificate"] != "" && cfg.TrustServerCertificate
	if ownCA || ownRule || trust {
		return false
	}
	t.InsecureSkipVerify = true // VerifyConnection is set at each connection
	return true
}

// RegisterDriver makes a driver for sql.Open that connects through a Dialer of
// its own, made with opts. A name that is taken is an error; go-mssqldb takes mssql
// and sqlserver. cleanup closes the Dialer; the name stays taken. cleanup is never
// nil.
func RegisterDriver(name string, opts ...cloudsqlconn.Option) (cleanup func() error, err error) {
	_, cleanup, err = sqldriver.Register(name, opts, func(d *cloudsqlconn.Dialer, dsn string) (sqldriver.Opener, error) {
		return newConnector(d, dsn, nil)
	})
	return cleanup, err
}

var _ mssql.HostDialer = (*attempt)(nil)
