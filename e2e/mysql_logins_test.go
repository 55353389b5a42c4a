package e2e

import (
	"crypto/rsa"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// outcome is how a login ends.
type outcome string

const (
	in      outcome = "in"
	refused outcome = "refused by the server"
	tooLong outcome = "too long for the server's RSA key"
)

// Every state of a password and of the server's memory of it, by every way to
// MySQL. An instance with the metadata exchange in front of a TCP port refused
// the right password until the server had seen it by another way, while the kit
// was believed on MariaDB alone.
func TestLoginsWithPasswordsByEveryWay(t *testing.T) {
	t.Parallel()
	e := mysql97Engine
	server := e.ownServer(t) // nobody else may flush
	users := 0
	for _, socket := range []bool{false, true} {
		cfg, host := cloudsqltest.Instance{}, "127.0.0.1"
		if socket {
			cfg.Backend, host = server.SocketAddr(), "localhost"
		}
		for _, exchange := range []bool{true, false} {
			if exchange {
				cfg.MetadataExchange = cloudsqltest.GreetFirst // or each login waits for 250 ms
			} else {
				cfg.MetadataExchange = cloudsqltest.NoMetadataExchange
			}
			i := e.newInstanceOf(t, server, cfg)
			// newUser creates a user whom the server has not seen.
			newUser := func(password string) login {
				users++
				who := login{fmt.Sprint("user", users), password}
				wantNil(t, server.Exec(t.Context(), fmt.Sprintf("CREATE USER %s@'%s' IDENTIFIED BY '%s'", who.user, host, password),
					fmt.Sprintf("GRANT ALL ON %s.* TO %s@'%s'", sharedDatabase, who.user, host)))
				return who
			}
			for _, tls := range []bool{false, true} {
				check := func(what string, who login, tls bool, want outcome) {
					t.Helper()
					if got, err := i.logIn(t, who, tls); got != want {
						t.Errorf("socket %t, exchange %t, tls %t, %s: %s, want %s: %v", socket, exchange, tls, what, got, want, err)
					}
				}
				// Without the exchange and without TLS of MySQL's own the driver
				// asks for the server's key. Over a unix socket MySQL has none to
				// give, and takes that for a password.
				full, long := in, in
				switch plain := !exchange && !tls; {
				case plain && socket:
					full, long = refused, refused
				case plain:
					long = tooLong
				}
				who := newUser("secret")
				check("first", who, tls, full)
				check("first, the other way", who, true, in)
				check("cached", who, tls, in)
				wantNil(t, server.Exec(t.Context(), "FLUSH PRIVILEGES"))
				check("after FLUSH PRIVILEGES", who, tls, full)
				check("wrong", login{who.user, "wrong"}, tls, refused)
				check("none", login{who.user, ""}, tls, refused)
				check("empty", newUser(""), tls, in)
				check("213 bytes", newUser(strings.Repeat("x", 213)), tls, full)
				check("214 bytes", newUser(strings.Repeat("x", 214)), tls, long)
				check("256 bytes", newUser(strings.Repeat("x", 256)), tls, long)
			}
		}
	}
}

// logIn logs in once.
func (i *instance) logIn(t *testing.T, who login, tls bool) (outcome, error) {
	t.Helper()
	dsn := i.dsn(instanceName, who, sharedDatabase)
	if tls {
		dsn += "?tls=preferred"
	}
	c, err := i.connector(i.dialer, dsn)
	wantNil(t, err)
	conn, err := c.Connect(t.Context())
	switch {
	case err == nil:
		return in, conn.Close()
	case i.loginRefused(err):
		return refused, err
	case errors.Is(err, rsa.ErrMessageTooLong) && strings.Contains(cloudsqlconn.Hint(err), "tls=preferred"):
		return tooLong, err
	}
	return "failed", err
}
