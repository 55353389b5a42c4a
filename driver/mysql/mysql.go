// Package mysql connects go-sql-driver/mysql to Cloud SQL for MySQL: through
// [NewConnector] and sql.OpenDB, or [RegisterDriver] and sql.Open.
//
// The address of a data source name is the instance:
//
//	app:secret@cloudsql-mysql(project:region:instance)/shop?parseTime=true
//
// The network's name is not used. Everything else is go-sql-driver's. The
// connection runs inside the Dialer's TLS tunnel; MySQL's own TLS is off in it
// unless the data source name asks for it, and passwords may be sent in clear
// text, since nobody but the instance can read them. With IAM login the user
// can be given as an e-mail address, and needs no password.
package mysql

import (
	"context"
	"database/sql/driver"
	"fmt"
	"net"
	"strings"

	"github.com/go-sql-driver/mysql"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldriver"
)

// NewConnector returns a connector for sql.OpenDB that connects through d.
// Nothing is registered, and d stays the caller's to close.
func NewConnector(d *cloudsqlconn.Dialer, dsn string, opts ...cloudsqlconn.DialOption) (driver.Connector, error) {
	cfg, err := mysql.ParseDSN(dsn)
	if err != nil {
		return nil, err
	}
	instance, err := instanceOf(cfg)
	if err != nil {
		return nil, err
	}
	cfg.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) {
		c, err := d.Dial(ctx, instance, opts...)
		if err != nil {
			return nil, err
		}
		first, _ := ctx.Value(causeKey{}).(*cause)
		return watch(c, first), nil
	}
	cfg.AllowCleartextPasswords = true
	if d.IAMAuthN(opts...) {
		cfg.User = cloudsqlconn.FormatIAMUser("MYSQL", cfg.User)
	}
	c, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, err
	}
	return connector{c}, nil
}

// instanceOf returns the instance that cfg names as its address.
func instanceOf(cfg *mysql.Config) (string, error) {
	instance := cfg.Addr
	if host, _, err := net.SplitHostPort(instance); err == nil && cfg.Net == "tcp" {
		instance = host // go-sql-driver has added its default port
	}
	if cfg.Net == "unix" || strings.HasPrefix(instance, "/") || net.ParseIP(instance) != nil {
		return "", fmt.Errorf("%w: the address is %s(%s); want cloudsql-mysql(project:region:instance)", cloudsqlconn.ErrBadName, cfg.Net, cfg.Addr)
	}
	return instance, nil
}

// RegisterDriver makes a driver for sql.Open that connects through a Dialer of
// its own, made with opts. A taken name is an error. cleanup closes the
// Dialer; the name stays taken.
func RegisterDriver(name string, opts ...cloudsqlconn.Option) (cleanup func() error, err error) {
	d, err := cloudsqlconn.NewDialer(context.Background(), opts...)
	if err != nil {
		return nil, err
	}
	open := func(dsn string) (driver.Connector, error) { return NewConnector(d, dsn) }
	return sqldriver.Register(name, open, d.Close)
}
