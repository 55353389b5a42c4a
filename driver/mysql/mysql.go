// Package mysql connects go-sql-driver/mysql to Cloud SQL for MySQL: through
// [NewConnector] and sql.OpenDB, or [RegisterDriver] and sql.Open.
//
// The address of a data source name is the instance:
//
//	app:secret@cloudsql-mysql(project:region:instance)/shop?parseTime=true
//
// The network's name is not used. Three parameters are for the Dialer, and win
// over options given in code:
//
//	cloudsql_ip_types   a list for WithIPTypes, such as PRIVATE,PUBLIC
//	cloudsql_iam_authn  true or false, for WithDialIAMAuthN
//	cloudsql_sql_data   never, prefer or only, for WithSQLData; it serves no
//	                    MySQL as far as is known
//
// Everything else is go-sql-driver's, but for what is about a direct connection.
// Passwords may be sent in clear text, since nobody but the instance can read
// them. With IAM login the user can be given as an e-mail address, and needs no
// password; without a user it is the service account that the Dialer's
// credentials belong to. sql.Conn's Raw gives go-sql-driver's own connection.
//
// # Settings of a direct connection
//
// The connection runs inside the Dialer's TLS tunnel, which has proved who the
// server is. MySQL's own TLS is off in it unless the data source name asks for
// it: it takes passwords of more than 213 bytes where MySQL's RSA key does not.
//
//	the network                    does not count, but unix is ErrBadName
//	a port, as in tcp(host:3306)   does not count
//	tls=false                      the default
//	tls=preferred, skip-verify     TLS inside the tunnel, if the server has it
//	tls=NAME, a registered         TLS inside the tunnel, if the server has it; ErrConfig if the
//	configuration                  configuration verifies the server without a ServerName
//	tls=true                       ErrConfig: no instance has a certificate that is good for its
//	                               name in a data source name
//	allowFallbackToPlaintext       does not count: it is allowed
//	allowCleartextPasswords        does not count: they are allowed
//	serverPubKey                   counts where MySQL wants its RSA key used
//	timeout                        counts, for the Dial
//	everything else                as go-sql-driver has it
package mysql

import (
	"database/sql/driver"
	"fmt"
	"net"
	"strings"

	"github.com/go-sql-driver/mysql"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/driver/internal/sqldriver"
)

// form is the hint of what is wrong with a data source name.
const form = "Write it as app:secret@cloudsql-mysql(project:region:instance)/shop; the documentation of driver/mysql lists what else there can be."

// NewConnector returns a connector for sql.OpenDB that connects through d.
// Nothing is registered, and nothing has to be released; d stays the caller's
// to close. A data source name or option that is wrong is an error here, a
// [*cloudsqlconn.Error] of the step configure: ErrBadName or ErrConfig. An
// instance that is no MySQL is an error of Connect.
func NewConnector(d *cloudsqlconn.Dialer, dsn string, opts ...cloudsqlconn.DialOption) (driver.Connector, error) {
	return sqldriver.NewConnector(dsn, func(dsn string) (sqldriver.Opener, error) { return newConnector(d, dsn, opts) })
}

func newConnector(d *cloudsqlconn.Dialer, dsn string, opts []cloudsqlconn.DialOption) (sqldriver.Opener, error) {
	cfg, l, err := configure(d, dsn, opts)
	if err != nil {
		return nil, sqldriver.ConfigError(err, form)
	}
	return l.newConnector(cfg)
}

func configure(d *cloudsqlconn.Dialer, dsn string, opts []cloudsqlconn.DialOption) (cfg *mysql.Config, l login, err error) {
	if cfg, err = parse(dsn); err != nil {
		return nil, l, err
	}
	instance, err := instanceOf(cfg)
	if err != nil {
		return nil, l, err
	}
	if err := takeTLS(cfg, instance); err != nil {
		return nil, l, err
	}
	if opts, err = sqldriver.Options(cfg.Params, opts); err != nil {
		return nil, l, err
	}
	cfg.AllowCleartextPasswords = true
	iam := d.IAMAuthN(opts...)
	if iam {
		cfg.User = cloudsqlconn.FormatIAMUser(sqldriver.MySQL, cfg.User)
	}
	return cfg, login{d, instance, opts, iam}, nil
}

// takeTLS makes the TLS inside the tunnel, if the data source name asks for it,
// one that can be had.
func takeTLS(cfg *mysql.Config, instance string) error {
	if t := cfg.TLS; cfg.TLSConfig == "true" || t != nil && !t.InsecureSkipVerify && (t.ServerName == "" || t.ServerName == instance) {
		return fmt.Errorf("%w: tls=%s in the data source name: the tunnel is TLS already, and has proven who the server is; leave it out, or use tls=preferred if the user is to have TLS inside the tunnel, too", cloudsqlconn.ErrConfig, cfg.TLSConfig)
	}
	cfg.AllowFallbackToPlaintext = true // inside the tunnel
	return nil
}

// parse is mysql.ParseDSN, which panics at a parameter that it no longer knows.
func parse(dsn string) (cfg *mysql.Config, err error) {
	defer func() {
		if r := recover(); r != nil {
			cfg, err = nil, fmt.Errorf("%w: %v", cloudsqlconn.ErrConfig, r)
		}
	}()
	return mysql.ParseDSN(dsn)
}

// instanceOf returns the instance that cfg names as its address.
func instanceOf(cfg *mysql.Config) (string, error) {
	instance := cfg.Addr
	if host, port, err := net.SplitHostPort(instance); err == nil && cfg.Net == "tcp" && !strings.Contains(port, "-") {
		instance = host // go-sql-driver has added its default port
	}
	if cfg.Net == "unix" {
		return "", fmt.Errorf("%w: the address is unix(%s); want cloudsql-mysql(project:region:instance)", cloudsqlconn.ErrBadName, instance)
	}
	if err := sqldriver.CheckInstance(instance); err != nil {
		return "", fmt.Errorf("the address: %w; give it as cloudsql-mysql(project:region:instance)", err)
	}
	return instance, nil
}

// RegisterDriver makes a driver for sql.Open that connects through a Dialer of
// its own, made with opts. A taken name is an error. cleanup closes the
// Dialer; the name stays taken. It is never nil. Nothing is kept of the data
// source names.
func RegisterDriver(name string, opts ...cloudsqlconn.Option) (cleanup func() error, err error) {
	return sqldriver.Register(name, opts, func(d *cloudsqlconn.Dialer, dsn string) (sqldriver.Opener, error) {
		return newConnector(d, dsn, nil)
	})
}
