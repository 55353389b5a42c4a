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
	"context"
	"database/sql/driver"

	"github.com/microsoft/go-mssqldb/msdsn"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/driver/internal/mssqlconfig"
	"github.com/cloudsqlconn/cloudsqlconn/driver/internal/mssqltunnel"
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

func configure(d *cloudsqlconn.Dialer, dsn string, opts []cloudsqlconn.DialOption) (c connector, err error) {
	cfg, err := msdsn.Parse(dsn)
	if err != nil {
		return c, err
	}
	instance, err := mssqlconfig.TakeInstance(d, &cfg)
	if err != nil {
		return c, err
	}
	if opts, err = sqldriver.Options(d, cfg.Parameters, opts); err != nil {
		return c, err
	}
	verify, err := mssqlconfig.TakeSettings(&cfg)
	if err != nil {
		return c, err
	}
	return connector{&mssqltunnel.Login{Dialer: d, Instance: instance, Options: opts, Config: cfg, Verify: verify}}, nil
}

// connector makes a Conn of a login.
type connector struct{ login *mssqltunnel.Login }

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, tunnel, err := c.login.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &Conn{conn, tunnel}, nil
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
