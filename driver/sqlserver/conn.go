package sqlserver

import (
	"context"
	"database/sql/driver"
	"net"

	mssql "github.com/microsoft/go-mssqldb"

	"github.com/cloudsqlconn/cloudsqlconn/driver/internal/heard"
)

// Conn is what sql.Conn.Raw gives: go-mssqldb's connection, which leaves the
// pool when the server has closed it, and not when the next query has failed.
type Conn struct {
	*mssql.Conn
	tunnel net.Conn
}

var _ driver.SessionResetter = (*Conn)(nil)

// ResetSession returns driver.ErrBadConn if the server has left.
func (c *Conn) ResetSession(ctx context.Context) error {
	if heard.Look(c.tunnel) == heard.Something {
		return driver.ErrBadConn
	}
	return c.Conn.ResetSession(ctx)
}
