package pglogin

import (
	"net"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/internal/pgstartup"
)

// Repeat has an IAM login repeated that has gone well over c, a connection that was
// dialled with opts: see [cloudsqlconn.WithLoginAfterRefresh].
func Repeat(c net.Conn, user, database string, opts []cloudsqlconn.DialOption) {
	if c, ok := c.(interface {
		RepeatLogin(string, []cloudsqlconn.DialOption, func(net.Conn) (bool, error))
	}); ok {
		as, login := pgstartup.Again(user, database)
		c.RepeatLogin(as, opts, login)
	}
}
