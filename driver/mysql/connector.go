package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/go-sql-driver/mysql"
)

// connector adds to the errors of Connect what go-sql-driver leaves out: why a
// Read failed. If that was the client certificate, database/sql connects again.
type connector struct{ driver.Connector }

// newConnector returns a connector that has complete fill in what cfg lacks.
func newConnector(cfg *mysql.Config, complete func(context.Context, *mysql.Config) error) (driver.Connector, error) {
	err := cfg.Apply(mysql.BeforeConnect(func(ctx context.Context, cfg *mysql.Config) error {
		ctx.Value(attemptKey{}).(*attempt).cfg = cfg
		return complete(ctx, cfg)
	}))
	if err != nil {
		return nil, err
	}
	c, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, err
	}
	return connector{c}, nil
}

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	a := new(attempt)
	conn, err := c.Connector.Connect(context.WithValue(ctx, attemptKey{}, a))
	if errors.Is(err, mysql.ErrInvalidConn) && a.read != nil {
		return nil, fmt.Errorf("%w: %w", err, a.read)
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
