package mysql_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	gomysql "github.com/go-sql-driver/mysql"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/driver/mysql"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/mysqlserver"
)

// connect connects once to an instance whose database is handler.
func connect(t *testing.T, cfg cloudsqltest.Instance, dsn string, opts ...cloudsqlconn.DialOption) (err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, cfg)
		defer w.close()
		c, newErr := mysql.NewConnector(w.dialer, dsn, opts...)
		wantNil(t, newErr)
		conn, connectErr := c.Connect(t.Context())
		if connectErr == nil {
			_ = conn.Close()
		}
		err = connectErr
	})
	return err
}

const secretDSN = "app:secret@cloudsql-mysql(" + instance + ")/shop"

// A server over a unix socket takes the request for its key for the password,
// and says so. go-sql-driver drops that: users were told "unexpected resp from
// server for caching_sha2_password", without 1045, and without the hint for IAM
// logins.
func TestARefusalInPlaceOfAKeyIsTold(t *testing.T) {
	t.Parallel()
	for _, iam := range []bool{false, true} {
		server := &mysqlserver.Server{Accounts: accounts, Secure: true}
		err := connect(t, cloudsqltest.Instance{Handler: server.Serve}, secretDSN, cloudsqlconn.WithIAMAuthN(iam))
		if l := server.Logins(); len(l) != 1 || l[0].Path != mysqlserver.FullClear || l[0].OK {
			t.Fatalf("the fault did not happen: %+v", l)
		}
		refused, ok := errors.AsType[*gomysql.MySQLError](err)
		if !ok || refused.Number != 1045 || refused.SQLState != [5]byte{'2', '8', '0', '0', '0'} || !strings.Contains(refused.Message, "Access denied") {
			t.Errorf("got %v, want error 1045", err)
		}
		if e, ok := errors.AsType[*cloudsqlconn.Error](err); !ok || e.Op != cloudsqlconn.OpLogin || e.Instance != instance {
			t.Errorf("got %#v", err)
		}
		want := "set-password app"
		if iam {
			want = "CLOUD_IAM"
		}
		if hint := cloudsqlconn.Hint(err); !strings.Contains(hint, want) {
			t.Errorf("IAM login %t: the hint is %q", iam, hint)
		}
	}
}

// Nothing said that IAM login was off, or what to do about a password.
func TestARefusedPasswordHasAHint(t *testing.T) {
	t.Parallel()
	for user, want := range map[string]string{"me@example.com": "IAM login is off", "app": `The password of "app" is wrong`} {
		server := &mysqlserver.Server{Accounts: accounts}
		err := connect(t, cloudsqltest.Instance{Handler: server.Serve}, user+":wrong@cloudsql-mysql("+instance+")/shop")
		if refused, ok := errors.AsType[*gomysql.MySQLError](err); !ok || refused.Number != 1045 {
			t.Fatalf("%s: got %v, want error 1045", user, err)
		}
		if hint := cloudsqlconn.Hint(err); !strings.HasPrefix(hint, want) || strings.Contains(hint, ":wrong") {
			t.Errorf("%s: the hint is %q, want %q", user, hint, want)
		}
	}
}

// MySQL's RSA key takes no more than 213 bytes; the error was that of
// crypto/rsa, and named no way out.
func TestAPasswordThatIsTooLongForTheKeyHasAWayOut(t *testing.T) {
	t.Parallel()
	password := strings.Repeat("x", 214)
	server := &mysqlserver.Server{Accounts: map[string]mysqlserver.Account{"app": {Password: password}}}
	err := connect(t, cloudsqltest.Instance{Handler: server.Serve}, "app:"+password+"@cloudsql-mysql("+instance+")/shop")
	if hint := cloudsqlconn.Hint(err); !strings.Contains(hint, "tls=preferred") || strings.Contains(hint, "xxx") {
		t.Errorf("got %v, hint %q", err, hint)
	}
}

// tls=true failed at each login, with an error about a certificate that has no
// name of the host in the data source name.
func TestTLSInTheDataSourceNameIsAMistakeAtOnce(t *testing.T) {
	t.Parallel()
	d := newDialer(t, cloudsqlconn.WithAdminAPIEndpoint("http://127.0.0.1:1"))
	for value, good := range map[string]bool{"true": false, "1": false, "TRUE": false, "preferred": true, "skip-verify": true, "false": true} {
		_, err := mysql.NewConnector(d, secretDSN+"?tls="+value)
		switch {
		case good && err != nil:
			t.Errorf("tls=%s: %v", value, err)
		case !good && (!errors.Is(err, cloudsqlconn.ErrConfig) || !strings.Contains(err.Error(), "the tunnel is TLS already") || strings.Contains(err.Error(), "secret")):
			t.Errorf("tls=%s: got %v, want ErrConfig", value, err)
		}
	}
}

// Something else than MySQL at the other end left Connect waiting for as many
// bytes as its first ones make a length of: millions.
func TestWhatAnswersInPlaceOfMySQLIsNamed(t *testing.T) {
	t.Parallel()
	for _, words := range []string{"SSH-2.0-OpenSSH_9.6\r\n", "HTTP/1.1 400 Bad Request\r\n\r\n"} {
		for _, piece := range []int{1, len(words)} {
			err := connect(t, cloudsqltest.Instance{Handler: func(c net.Conn) {
				for rest := words; rest != ""; rest = rest[piece:] {
					_, _ = io.WriteString(c, rest[:piece])
				}
				_, _ = io.Copy(io.Discard, c)
			}}, secretDSN)
			if err == nil || !strings.Contains(err.Error(), "what answers is not MySQL: it begins with \""+words[:4]) {
				t.Errorf("%q, %d bytes at a time: got %v", words, piece, err)
			}
		}
	}
}

// A database that is down behind a good instance was "invalid connection: EOF";
// Check had a hint for that, Connect had none.
func TestADatabaseThatIsDownHasAHint(t *testing.T) {
	t.Parallel()
	err := connect(t, cloudsqltest.Instance{Handler: func(net.Conn) {}}, secretDSN)
	if hint := cloudsqlconn.Hint(err); !errors.Is(err, gomysql.ErrInvalidConn) || !errors.Is(err, io.EOF) || !strings.Contains(hint, "the database does not answer") {
		t.Errorf("got %v, hint %q", err, hint)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, cloudsqltest.Instance{Handler: func(net.Conn) {}})
		defer w.close()
		c, err := mysql.NewConnector(w.dialer, secretDSN)
		wantNil(t, err)
		if _, err := c.Connect(ctx); !errors.Is(err, context.Canceled) || cloudsqlconn.Hint(err) != "" {
			t.Errorf("got %v, hint %q", err, cloudsqlconn.Hint(err))
		}
	})
}
