package pglogin

import (
	"net"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/internal/engine"
	"github.com/cloudsqlconn/cloudsqlconn/internal/pgstartup"
)

// Repeat has an IAM login repeated that has gone well over c, a connection that was
// dialled with opts: see [cloudsqlconn.WithLoginAfterRefresh]. Nothing is done for a user
// that is none of IAM's, who can log in with a password then as well.
func Repeat(c net.Conn, user, database string, opts []cloudsqlconn.DialOption) {
	if info, ok := cloudsqlconn.InfoOf(c); ok && engine.ByIAM(user) {
		as, login := pgstartup.Again(user, database)
		info.RepeatLogin(as, opts, login)
	}
}
