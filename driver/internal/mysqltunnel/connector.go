// Package mysqltunnel connects go-sql-driver/mysql through a Dialer, and sees to the
// login. It does not know how data source names are read.
package mysqltunnel

import (
	"context"
	"crypto/rsa"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"syscall"

	"github.com/go-sql-driver/mysql"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/driver/internal/mysqlpacket"
	"github.com/cloudsqlconn/cloudsqlconn/driver/internal/sqldriver"
)

// connector adds to the errors of Connect what go-sql-driver leaves out: why a
// Read failed, what the server has said, and hints. If the Read failed by the
// client certificate, database/sql connects again.
type connector struct {
	driver.Connector
	login Login
}

// Login is who logs in to what.
type Login struct {
	Dialer   *cloudsqlconn.Dialer
	Instance string
	Options  []cloudsqlconn.DialOption
	IAM      bool // what Options mean; the user may be left out then
}

// NewConnector returns a connector that logs in as cfg says. It changes cfg.
func (l Login) NewConnector(cfg *mysql.Config) (driver.Connector, error) {
	cfg.DialFunc = l.dial
	err := cfg.Apply(mysql.BeforeConnect(func(ctx context.Context, cfg *mysql.Config) error {
		ctx.Value(connectingKey{}).(*connecting).cfg = cfg
		return nil
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
	a := new(connecting)
	conn, err := c.try(context.WithValue(ctx, connectingKey{}, a), a)
	a.over = true
	if err == nil {
		a.said = nil
		return conn, nil
	}
	if errors.Is(err, mysql.ErrInvalidConn) && a.read != nil {
		err = fmt.Errorf("%w: %w", err, a.read)
	}
	refused, told := errors.AsType[*mysql.MySQLError](err)
	if !told {
		if refused = a.refusal(); refused != nil {
			err = fmt.Errorf("%w: %w", err, refused)
		}
	}
	const (
		accessDenied = 1045 // ER_ACCESS_DENIED_ERROR
		noAccess     = 1044 // ER_DBACCESS_DENIED_ERROR, which hides whether there is the database
		noDatabase   = 1049 // ER_BAD_DB_ERROR
	)
	switch {
	case refused != nil && refused.Number == accessDenied:
		return nil, c.login.refused(a.cfg).Refused(ctx, err)
	case refused != nil && (refused.Number == noDatabase || refused.Number == noAccess):
		return nil, c.login.refused(a.cfg).NoDatabase(err)
	case errors.Is(err, rsa.ErrMessageTooLong):
		return nil, &cloudsqlconn.Error{Op: cloudsqlconn.OpLogin, Instance: c.login.Instance, Hint: longPasswordHint, Err: err}
	case errors.Is(a.read, io.EOF) && len(a.said) == 0 && ctx.Err() == nil:
		return nil, sqldriver.SilentError(c.login.Instance, err)
	}
	return nil, sqldriver.ConnectError(c.login.Instance, err)
}

// refused is the login with cfg, for its hint.
func (l Login) refused(cfg *mysql.Config) sqldriver.Login {
	return sqldriver.Login{
		Dialer: l.Dialer, Options: l.Options, Instance: l.Instance, Engine: sqldriver.MySQL, User: cfg.User,
		NoPassword: cfg.Passwd == "",
	}
}

const longPasswordHint = "MySQL has asked for the password encrypted with its RSA key, which can take 213 bytes: put tls=preferred into the data source name, so that it goes as it is through TLS to the server, or choose one that is shorter."

// try makes an error of a panic of go-sql-driver, which does not survive every
// answer. What it has started for the connection then stays; the connection does
// not.
func (c connector) try(ctx context.Context, a *connecting) (conn driver.Conn, err error) {
	defer func() {
		r := recover()
		if r == nil {
			return
		}
		bug, ok := r.(runtime.Error)
		if !ok {
			panic(r)
		}
		if a.conn != nil {
			_ = a.conn.Close()
		}
		conn, err = nil, fmt.Errorf("go-sql-driver/mysql: %w; the server's answer begins with %.40q", bug, a.said)
	}()
	return c.Connector.Connect(ctx)
}

// connecting is one call of Connect.
type connecting struct {
	cfg  *mysql.Config // the connection's own copy
	conn net.Conn
	read error  // of the first Read that failed
	said []byte // by the server, up to mostSaid bytes
	over bool
}

// mostSaid is what is kept of what the server says: more than a login is.
const mostSaid = 8 << 10

type connectingKey struct{}

// hear is told what the server says. It returns an error if that is not MySQL's.
func (a *connecting) hear(b []byte) error {
	if a.over || len(a.said)+len(b) > mostSaid {
		a.over = true
		return nil
	}
	known := len(a.said) >= 5
	a.said = append(a.said, b...)
	if known || len(a.said) < 5 {
		return nil
	}
	const version10, refusal = 10, 0xff
	if a.said[3] != 0 || a.said[4] != version10 && a.said[4] != refusal {
		return fmt.Errorf("what answers is not MySQL: it begins with %.40q", a.said)
	}
	return nil
}

// refusal returns the error packet that the server has ended with, or nil.
func (a *connecting) refusal() *mysql.MySQLError {
	if a.cfg == nil || a.cfg.TLS != nil {
		return nil // these are no packets
	}
	return mysqlpacket.Last(a.said)
}

// dial connects for go-sql-driver.
func (l Login) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	a := ctx.Value(connectingKey{}).(*connecting)
	nobody := l.IAM && a.cfg.User == ""
	if nobody {
		if err := sqldriver.CheckUser(ctx, l.Dialer, l.Instance); err != nil {
			return nil, err
		}
	}
	c, err := sqldriver.Dial(ctx, l.Dialer, l.Instance, sqldriver.MySQL, l.Options)
	if err != nil {
		return nil, err
	}
	info, _ := cloudsqlconn.InfoOf(c)
	if nobody {
		if a.cfg.User, err = sqldriver.IAMUser(ctx, info, sqldriver.MySQL); err != nil {
			_ = c.Close()
			return nil, err
		}
	}
	if info.ExchangeMetadata() {
		// The server holds the connection for secure, as it is, and does not
		// hand out an RSA key to encrypt a password with. This is how
		// go-sql-driver knows; the network's name means nothing else to it.
		a.cfg.Net = "unix"
	}
	a.conn = c
	return watch(c, a), nil
}

// watch returns c, which tells a what is read, and why the first Read failed
// that did.
func watch(c net.Conn, a *connecting) net.Conn {
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
	of *connecting
}

func (w watched) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if stranger := w.of.hear(b[:n]); stranger != nil {
		n, err = 0, stranger
	}
	if err != nil && w.of.read == nil {
		w.of.read = err
	}
	return n, err
}
