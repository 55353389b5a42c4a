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

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	first := new(cause)
	conn, err := c.Connector.Connect(context.WithValue(ctx, causeKey{}, first))
	if errors.Is(err, mysql.ErrInvalidConn) && first.err != nil {
		return nil, fmt.Errorf("%w: %w", err, first.err)
	}
	return conn, err
}

// cause is why a connection's first failed Read failed.
type cause struct{ err error }

type causeKey struct{}

// watch returns c, which keeps the error of its first failed Read in first.
func watch(c net.Conn, first *cause) net.Conn {
	if first == nil {
		return c
	}
	if socket, ok := c.(syscall.Conn); ok {
		return struct {
			watched
			syscall.Conn
		}{watched{c, first}, socket}
	}
	return watched{c, first}
}

type watched struct {
	net.Conn
	first *cause
}

func (w watched) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if err != nil && w.first.err == nil {
		w.first.err = err
	}
	return n, err
}
