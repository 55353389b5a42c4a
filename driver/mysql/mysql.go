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
// Everything else is go-sql-driver's. The connection runs inside the Dialer's
// TLS tunnel; MySQL's own TLS is off in it unless the data source name asks for
// it, and passwords may be sent in clear text, since nobody but the instance can
// read them; that TLS takes passwords of more than 213 bytes where MySQL's RSA key
// does not. tls=preferred is the way to ask for it: who the server is, the tunnel
// has proven. tls=true is an error, since no instance has a certificate that is
// good for a name in a data source name. With IAM login the user can be given as an e-mail address, and
// needs no password; without a user it is the service account that the Dialer's
// credentials belong to.
package mysql

import (
	"context"
	"database/sql/driver"
	"fmt"
	"net"
	"strings"

	"github.com/go-sql-driver/mysql"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/driver/internal/sqldriver"
)

// NewConnector returns a connector for sql.OpenDB that connects through d.
// Nothing is registered, and nothing has to be released; d stays the caller's
// to close. A data source name or option that is wrong is an error here, an
// instance that is no MySQL is one of Connect.
func NewConnector(d *cloudsqlconn.Dialer, dsn string, opts ...cloudsqlconn.DialOption) (driver.Connector, error) {
	cfg, err := parse(dsn)
	if err != nil {
		return nil, err
	}
	instance, err := instanceOf(cfg)
	if err != nil {
		return nil, err
	}
	if cfg.TLSConfig == "true" {
		return nil, fmt.Errorf("%w: tls=true in the data source name: the tunnel is TLS already, and has proven who the server is; leave it out, or use tls=preferred if the user is to have TLS inside the tunnel, too", cloudsqlconn.ErrConfig)
	}
	opts, err = sqldriver.Options(cfg.Params, opts)
	if err != nil {
		return nil, err
	}
	cfg.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) {
		c, err := sqldriver.Dial(ctx, d, instance, sqldriver.MySQL, opts)
		if err != nil {
			return nil, err
		}
		return prepare(ctx, c), nil
	}
	cfg.AllowCleartextPasswords = true
	iam := d.IAMAuthN(opts...)
	if iam {
		cfg.User = cloudsqlconn.FormatIAMUser(sqldriver.MySQL, cfg.User)
	}
	return newConnector(cfg, login{d, instance, opts, iam})
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
	if host, _, err := net.SplitHostPort(instance); err == nil && cfg.Net == "tcp" {
		instance = host // go-sql-driver has added its default port
	}
	if cfg.Net == "unix" || instance == "" || strings.HasPrefix(instance, "/") || net.ParseIP(instance) != nil {
		return "", fmt.Errorf("%w: the address is %s(%s); want cloudsql-mysql(project:region:instance)", cloudsqlconn.ErrBadName, cfg.Net, cfg.Addr)
	}
	return instance, nil
}

// RegisterDriver makes a driver for sql.Open that connects through a Dialer of
// its own, made with opts. A taken name is an error. cleanup closes the
// Dialer; the name stays taken. Nothing is kept of the data source names.
func RegisterDriver(name string, opts ...cloudsqlconn.Option) (cleanup func() error, err error) {
	d, err := cloudsqlconn.NewDialer(context.Background(), opts...)
	if err != nil {
		return nil, err
	}
	open := func(dsn string) (driver.Connector, error) { return NewConnector(d, dsn) }
	return sqldriver.Register(name, open, d.Close)
}
