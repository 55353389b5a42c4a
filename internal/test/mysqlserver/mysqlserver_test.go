package mysqlserver_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-sql-driver/mysql"

	"github.com/cloudsqlconn/cloudsqlconn/internal/test/memnet"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/mysqlserver"
)

// open returns a pool that connects to s in memory.
func open(t *testing.T, s *mysqlserver.Server, dsn string, wrap func(net.Conn) net.Conn) *sql.DB {
	t.Helper()
	cfg, err := mysql.ParseDSN(dsn)
	wantNil(t, err)
	var wg sync.WaitGroup
	cfg.DialFunc = func(context.Context, string, string) (net.Conn, error) {
		c, server := memnet.Pair(memnet.Addr("client:1"), memnet.Addr("server:3306"))
		wg.Go(func() {
			defer server.Close()
			s.Serve(wrap(server))
		})
		return c, nil
	}
	cfg.Logger = &mysql.NopLogger{}
	connector, err := mysql.NewConnector(cfg)
	wantNil(t, err)
	db := sql.OpenDB(connector)
	t.Cleanup(func() {
		wantNil(t, db.Close())
		wg.Wait()
	})
	return db
}

func wantNil(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func plain(c net.Conn) net.Conn { return c }

// secureConn is a connection whose client has said that it comes by TLS.
type secureConn struct{ net.Conn }

func (secureConn) ClientProtocolType() string { return "TLS" }

func secure(c net.Conn) net.Conn { return secureConn{c} }

func TestLoginPaths(t *testing.T) {
	t.Parallel()
	accounts := map[string]mysqlserver.Account{
		"app":    {Password: "secret"},
		"native": {Password: "secret", Plugin: mysqlserver.NativePassword},
		"clear":  {Password: "secret", Plugin: mysqlserver.ClearPassword},
		"iam":    {},
	}
	for _, c := range []struct {
		name, dsn string
		wrap      func(net.Conn) net.Conn
		want      []mysqlserver.Path // of one login after the other
		refused   bool
	}{
		{"sha2", "app:secret@x(y)/", plain, []mysqlserver.Path{mysqlserver.FullRSA, mysqlserver.Fast, mysqlserver.Fast}, false},
		{"sha2, secure", "app:secret@unix(y)/", secure, []mysqlserver.Path{mysqlserver.FullClear, mysqlserver.Fast}, false},
		{"sha2, secure, the client wants RSA", "app:secret@x(y)/", secure, []mysqlserver.Path{mysqlserver.FullClear}, true},
		{"sha2, not secure, the client sends clear text", "app:secret@unix(y)/", plain, []mysqlserver.Path{mysqlserver.FullRSA}, true},
		{"sha2, wrong password", "app:wrong@x(y)/", plain, []mysqlserver.Path{mysqlserver.FullRSA}, true},
		{"sha2, no password", "app@x(y)/", plain, []mysqlserver.Path{mysqlserver.NoPassword}, true},
		{"native", "native:secret@x(y)/", plain, []mysqlserver.Path{mysqlserver.Scrambled, mysqlserver.Scrambled}, false},
		{"native, wrong password", "native:wrong@x(y)/", plain, []mysqlserver.Path{mysqlserver.Scrambled}, true},
		{"clear", "clear:secret@x(y)/?allowCleartextPasswords=true", plain, []mysqlserver.Path{mysqlserver.Clear}, false},
		{"clear, wrong password", "clear:wrong@x(y)/?allowCleartextPasswords=true", plain, []mysqlserver.Path{mysqlserver.Clear}, true},
		{"none", "iam@x(y)/", plain, []mysqlserver.Path{mysqlserver.NoPassword}, false},
		{"none, but given", "iam:secret@x(y)/", plain, []mysqlserver.Path{mysqlserver.NoPassword}, true},
		{"unknown user", "nobody@x(y)/", plain, []mysqlserver.Path{""}, true},
	} {
		for _, greeting := range []mysqlserver.Plugin{"", mysqlserver.NativePassword} {
			t.Run(c.name+"/"+string(greeting), func(t *testing.T) {
				t.Parallel()
				s := &mysqlserver.Server{Accounts: accounts, Greeting: greeting}
				db := open(t, s, c.dsn, c.wrap)
				db.SetMaxIdleConns(-1)
				for range c.want {
					err := db.PingContext(t.Context())
					if (err != nil) != c.refused {
						t.Fatalf("login: %v", err)
					}
				}
				var got []mysqlserver.Path
				for _, l := range s.Logins() {
					got = append(got, l.Path)
					if l.OK == c.refused {
						t.Errorf("login %+v", l)
					}
				}
				if !slices.Equal(got, c.want) {
					t.Errorf("the logins went by %q, want %q", got, c.want)
				}
			})
		}
	}
}

func TestQueriesHaveScriptedAnswers(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 1000)
	s := &mysqlserver.Server{Accounts: map[string]mysqlserver.Account{"app": {}}, Answers: map[string]string{"SELECT 'a'": "a", "SELECT long": long}}
	db := open(t, s, "app@x(y)/shop?maxAllowedPacket=0", plain)
	for q, want := range map[string]string{"SELECT 'a'": "a", "select 1": "1", "SELECT long": long} {
		var got string
		if err := db.QueryRowContext(t.Context(), q).Scan(&got); err != nil || got != want {
			t.Errorf("%s: %q, %v", q, got, err)
		}
	}
	_, err := db.ExecContext(t.Context(), "SET x = 1")
	wantNil(t, err)
	_, err = db.ExecContext(t.Context(), "DROP TABLE t")
	if refusal, ok := errors.AsType[*mysql.MySQLError](err); !ok || refusal.Number != 1064 {
		t.Errorf("an unknown statement: %v", err)
	}
	_, err = db.PrepareContext(t.Context(), "SELECT ?")
	if refusal, ok := errors.AsType[*mysql.MySQLError](err); !ok || refusal.Number != 1047 {
		t.Errorf("a prepared statement: %v", err)
	}
	wantNil(t, db.PingContext(t.Context()))
	if s.Pings() != 1 || !slices.Contains(s.Queries(), "DROP TABLE t") || s.Logins()[0].Database != "shop" {
		t.Errorf("the server saw %d pings, %q, %+v", s.Pings(), s.Queries(), s.Logins())
	}
}

func TestIdleSessionsExpireWithAnErrorPacket(t *testing.T) {
	t.Parallel()
	s := &mysqlserver.Server{Accounts: map[string]mysqlserver.Account{"app": {}}}
	db := open(t, s, "app@x(y)/", plain)
	wantNil(t, db.PingContext(t.Context()))
	if n := s.ExpireIdle(); n != 1 {
		t.Fatalf("%d sessions expired", n)
	}
	var err error
	_ = db.PingContext(t.Context()) // may notice it
	if err = db.PingContext(t.Context()); err != nil {
		t.Errorf("after that: %v", err)
	}
	if n := len(s.Logins()); n != 2 {
		t.Errorf("%d logins", n)
	}
}

// streamConn is a connection whose client says all it has to say at once.
type streamConn struct {
	net.Conn
	in  *bytes.Reader
	out bytes.Buffer
}

func (c *streamConn) Read(b []byte) (int, error)  { return c.in.Read(b) }
func (c *streamConn) Write(b []byte) (int, error) { return c.out.Write(b) }

func FuzzServe(f *testing.F) {
	login := "\x2d\x00\x00\x01\x00\x82\x08\x00\x00\x00\x00\x01\xff" + strings.Repeat("\x00", 23) + "app\x00\x00" + "\x00\x00\x00\x00"
	f.Add([]byte(login))
	f.Add([]byte(login + "\x09\x00\x00\x00\x03SELECT 1" + "\x01\x00\x00\x00\x0e" + "\x01\x00\x00\x00\x01"))
	f.Add([]byte("\x22\x00\x00\x01\xff\xff\xff\xff" + strings.Repeat("\x00", 28) + "\x00\xfe\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Add([]byte("\xff\xff\xff\x01"))
	f.Fuzz(func(t *testing.T, in []byte) {
		s := &mysqlserver.Server{Accounts: map[string]mysqlserver.Account{"app": {Plugin: mysqlserver.NativePassword}}}
		c := &streamConn{in: bytes.NewReader(in)}
		s.Serve(c)
		if c.out.Len() == 0 || len(s.Logins()) > 1 {
			t.Errorf("%d bytes out, logins %+v", c.out.Len(), s.Logins())
		}
	})
}
