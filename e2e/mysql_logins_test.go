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

// account is a login, which is a function here.
type account = login

// outcome is how a login ends.
type outcome int

const (
	in      outcome = iota
	refused         // by the server
	tooLong         // for its RSA key
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
		for _, exchange := range []bool{true, false} {
			cfg := cloudsqltest.Instance{}
			if socket {
				cfg.Backend = server.SocketAddr()
			}
			if exchange {
				cfg.MetadataExchange = cloudsqltest.AcceptMetadata
			}
			i := e.newInstanceOf(t, server, cfg)
			for _, tls := range []bool{false, true} {
				// login logs in once.
				login := func(who account) outcome {
					dsn := i.dsn(instanceName, who, sharedDatabase)
					if tls {
						dsn += "?tls=preferred"
					}
					c, err := i.connector(i.dialer, dsn)
					wantNil(t, err)
					conn, err := c.Connect(t.Context())
					switch {
					case err == nil:
						wantNil(t, conn.Close())
						return in
					case i.loginRefused(err):
						return refused
					case errors.Is(err, rsa.ErrMessageTooLong) && strings.Contains(cloudsqlconn.Hint(err), "tls=preferred"):
						return tooLong
					}
					t.Errorf("%.20q: %v", dsn, err)
					return -1
				}
				// newUser creates a user whom the server has not seen.
				newUser := func(password string) (who account) {
					users++
					who.user, who.password = fmt.Sprint("user", users), password
					for _, host := range []string{"127.0.0.1", "localhost"} {
						wantNil(t, server.Exec(t.Context(), fmt.Sprintf("CREATE USER %s@'%s' IDENTIFIED BY '%s'", who.user, host, password),
							fmt.Sprintf("GRANT ALL ON %s.* TO %s@'%s'", sharedDatabase, who.user, host)))
					}
					return who
				}
				// Without the exchange the driver holds the tunnel for what it is
				// to MySQL, no TLS of its own: it asks for the server's key. Over a
				// unix socket MySQL has none to give.
				full, long := in, in
				if !exchange && !tls {
					full, long = refused, refused
					if !socket {
						full, long = in, tooLong
					}
				}
				name := fmt.Sprintf("socket %t, exchange %t, tls %t: ", socket, exchange, tls)
				check := func(what string, got, want outcome) {
					t.Helper()
					if got != want {
						t.Errorf("%s%s: got %d, want %d", name, what, got, want)
					}
				}
				who := newUser("secret")
				check("first", login(who), full)
				if full == in {
					check("cached", login(who), in)
				}
				wantNil(t, server.Exec(t.Context(), "FLUSH PRIVILEGES"))
				check("after FLUSH PRIVILEGES", login(who), full)
				check("wrong", login(account{who.user, "wrong"}), refused)
				check("none", login(account{who.user, ""}), refused)
				check("empty", login(newUser("")), in)
				check("213 bytes", login(newUser(strings.Repeat("x", 213))), full)
				check("214 bytes", login(newUser(strings.Repeat("x", 214))), long)
				check("256 bytes", login(newUser(strings.Repeat("x", 256))), long)
			}
		}
	}
}
