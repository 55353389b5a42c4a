package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/go-sql-driver/mysql"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/driver/internal/sqldriver"
)

// connector adds to the errors of Connect what go-sql-driver leaves out: why a
// Read failed, and a hint if an IAM login was refused. If the Read failed by the
// client certificate, database/sql connects again.
type connector struct {
	driver.Connector
	login login
}

// login is who logs in to what.
type login struct {
	dialer   *cloudsqlconn.Dialer
	instance string
	opts     []cloudsqlconn.DialOption
	iam      bool
}

// complete puts in the user of the credentials if cfg has none.
func (l *login) complete(ctx context.Context, cfg *mysql.Config) (err error) {
	if l.iam && cfg.User == "" {
		cfg.User, err = sqldriver.IAMUser(ctx, l.dialer, l.instance, sqldriver.MySQL, l.opts)
	}
	return err
}

func newConnector(cfg *mysql.Config, l login) (driver.Connector, error) {
	err := cfg.Apply(mysql.BeforeConnect(func(ctx context.Context, cfg *mysql.Config) error {
		ctx.Value(attemptKey{}).(*attempt).cfg = cfg
		return l.complete(ctx, cfg)
	}))
	if err != nil {
		return nil, err
	}
	c, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, err
	}
	return connector{c, l}, nil
}

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	a := new(attempt)
	conn, err := c.Connector.Connect(context.WithValue(ctx, attemptKey{}, a))
	if errors.Is(err, mysql.ErrInvalidConn) && a.read != nil {
		return nil, fmt.Errorf("%w: %w", err, a.read)
	}
	const accessDenied = 1045 // ER_ACCESS_DENIED_ERROR
	if refused, ok := errors.AsType[*mysql.MySQLError](err); ok && c.login.iam && refused.Number == accessDenied {
		return nil, sqldriver.LoginError(ctx, c.login.dialer, c.login.instance, sqldriver.MySQL, a.cfg.User, c.login.opts, err)
	}
	return conn, err
}

// attempt is one call of Connect.
type attempt struct {
	cfg  *mysql.Config // the connection's own copy
	read error         // of the first Read that failed
}

type attemptKey struct{}

// prepare makes c fit for go-sql-driver.
func prepare(ctx context.Context, c net.Conn) net.Conn {
	a := ctx.Value(attemptKey{}).(*attempt)
	if c, ok := c.(interface{ MetadataExchange() bool }); ok && c.MetadataExchange() {
		// The server holds the connection for secure, as it is, and does not
		// hand out an RSA key to encrypt a password with. This is how
		// go-sql-driver knows; the network's name means nothing else to it.
		a.cfg.Net = "unix"
	}
	return watch(c, a)
}

// watch returns c, which tells a why its first Read failed that did.
func watch(c net.Conn, a *attempt) net.Conn {
	if socket, ok := c.(syscall.Conn); ok {
		return struct {
			watched
			syscall.Conn
		}{watched{c, a}, socket}
	}
	return watched{c, a}
}

type watched struct {
	net.Conn
	attempt *attempt
}

func (w watched) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if err != nil && w.attempt.read == nil {
		w.attempt.read = err
	}
	return n, err
}
