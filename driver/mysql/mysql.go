// Package mysql connects go-sql-driver/mysql to Cloud SQL for MySQL: through
// [NewConnector] and sql.OpenDB, or [RegisterDriver] and sql.Open.
//
// The address in a data source name is the instance:
//
//	app:secret@cloudsql-mysql(project:region:instance)/shop?parseTime=true
//
// The network's name is not used. Three parameters are for the Dialer, and take
// precedence over options given in code:
//
//	cloudsql_ip_types   a list for WithIPTypes, such as PRIVATE,PUBLIC
//	cloudsql_iam_authn  true or false, for WithIAMAuthN
//	cloudsql_sql_data   never, prefer or only, for WithSQLData; as far as is
//	                    known, SQL Data serves no MySQL
//
// Everything else is go-sql-driver's, except for settings for a direct connection.
// Passwords may be sent in clear text, since nobody but the instance can read
// them. With IAM login the user can be given as an e-mail address, and needs no
// password; the default is the service account that the Dialer's credentials belong
// to. The Raw method of a sql.Conn gives go-sql-driver's own connection.
//
// When the context of a query ends, go-sql-driver closes the connection, and sends no
// KILL. One that a program sends runs on another connection of the pool: in a read pool
// that can be one to another node, which does not know the query.
//
// # The driver named mysql
//
// Programs and libraries that open the driver "mysql", as GORM's dialector does,
// use go-sql-driver's own driver. It connects through the Dialer of
// [RegisterDriver] if the network is the registered name:
//
//	cleanup, err := mysql.RegisterDriver("cloudsql-mysql")
//	db, err := sql.Open("mysql", "app:secret@cloudsql-mysql(project:region:instance)/shop")
//
// Everything in the data source name is then up to go-sql-driver: the parameters
// above are unknown, an IAM login needs the user in the engine's form and
// allowCleartextPasswords=true, and errors have fewer hints.
//
// # Settings for a direct connection
//
// The connection runs inside the Dialer's TLS tunnel, which has verified the
// server. MySQL's own TLS is off inside it unless the data source name asks for it:
// it can carry passwords of more than 213 bytes, which MySQL's RSA key cannot.
//
//	the network                    ignored, but unix is ErrBadName
//	a port, as in tcp(host:3306)   ignored
//	tls=false                      the default
//	tls=preferred, skip-verify     TLS inside the tunnel, if the server has it
//	tls=NAME, a registered         TLS inside the tunnel, if the server has it; ErrConfig if the
//	configuration                  configuration verifies the server without a ServerName
//	tls=true                       ErrConfig: no instance has a certificate that is valid for its
//	                               name in a data source name
//	allowFallbackToPlaintext       ignored: it is allowed
//	allowCleartextPasswords        ignored: they are allowed
//	serverPubKey                   used where MySQL asks for its RSA key
//	timeout                        used, for the Dial
//	everything else                as in go-sql-driver
package mysql

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"

	"github.com/go-sql-driver/mysql"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/driver/internal/mysqltunnel"
	"github.com/cloudsqlconn/cloudsqlconn/driver/internal/sqldriver"
)

// form is the hint of what is wrong with a data source name.
const form = "Write it as app:secret@cloudsql-mysql(project:region:instance)/shop; the documentation of driver/mysql lists what else there can be."

// NewConnector returns a connector for sql.OpenDB that connects through d.
// Nothing is registered, and nothing has to be released; it remains up to the
// caller to close d. A wrong data source name or option is an error here, a
// [*cloudsqlconn.Error] of the step configure: ErrBadName or ErrConfig. An instance
// of another engine is an error of Connect.
func NewConnector(d *cloudsqlconn.Dialer, dsn string, opts ...cloudsqlconn.DialOption) (driver.Connector, error) {
	return sqldriver.NewConnector(dsn, func(dsn string) (sqldriver.Opener, error) { return newConnector(d, dsn, opts) })
}

func newConnector(d *cloudsqlconn.Dialer, dsn string, opts []cloudsqlconn.DialOption) (sqldriver.Opener, error) {
	cfg, l, err := configure(d, dsn, opts)
	if err != nil {
		return nil, sqldriver.ConfigError(err, form)
	}
	return l.NewConnector(cfg)
}

func configure(d *cloudsqlconn.Dialer, dsn string, opts []cloudsqlconn.DialOption) (cfg *mysql.Config, l mysqltunnel.Login, err error) {
	if cfg, err = parse(dsn); err != nil {
		return nil, l, err
	}
	instance, err := instanceOf(d, cfg)
	if err != nil {
		return nil, l, err
	}
	if err := takeTLS(cfg, instance); err != nil {
		return nil, l, err
	}
	if opts, err = sqldriver.Options(d, cfg.Params, opts); err != nil {
		return nil, l, err
	}
	cfg.AllowCleartextPasswords = true
	iam := d.IAMAuthN(opts...)
	if iam {
		cfg.User = cloudsqlconn.FormatIAMUser(sqldriver.MySQL, cfg.User)
	}
	return cfg, mysqltunnel.Login{Dialer: d, Instance: instance, Options: opts, IAM: iam}, nil
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

// piece is how errors of go-sql-driver show a piece of a data source name.
var piece = regexp.MustCompile(`(?s)'.*'|".*"`)

// parse is mysql.ParseDSN, which panics at a parameter that it no longer knows. Its
// errors show no network and no database: without the @ or the last slash, the password
// counts as one.
func parse(dsn string) (cfg *mysql.Config, err error) {
	defer func() {
		if r := recover(); r != nil {
			cfg, err = nil, fmt.Errorf("%w: %v", cloudsqlconn.ErrConfig, r)
		}
	}()
	if cfg, err = mysql.ParseDSN(dsn); err != nil {
		return nil, errors.New(piece.ReplaceAllLiteralString(err.Error(), `"..."`))
	}
	return cfg, nil
}

// instanceOf returns the instance that cfg names as its address, for d.
func instanceOf(d *cloudsqlconn.Dialer, cfg *mysql.Config) (string, error) {
	instance := cfg.Addr
	if host, port, err := net.SplitHostPort(instance); err == nil && cfg.Net == "tcp" && !strings.Contains(port, "-") {
		instance = host // go-sql-driver has added its default port
	}
	if cfg.Net == "unix" && !strings.HasPrefix(instance, "/cloudsql/") {
		return "", fmt.Errorf("%w: the address is unix(%s); want cloudsql-mysql(project:region:instance)", cloudsqlconn.ErrBadName, instance)
	}
	return instance, checkAddress(d, instance)
}

func checkAddress(d *cloudsqlconn.Dialer, addr string) error {
	if err := sqldriver.CheckInstance(d, addr); err != nil {
		return fmt.Errorf("the address: %w; give it as cloudsql-mysql(project:region:instance)", err)
	}
	return nil
}
