package mysql_test

import (
	"context"
	_ "embed"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/driver/mysql"
)

//go:embed testdata/dsn.txt
var corpus string

// eachDSN calls f for each line of the corpus.
func eachDSN(f func(verdict, dsn string)) {
	for line := range strings.Lines(corpus) {
		if words := strings.Fields(line); len(words) == 2 {
			f(words[0], words[1])
		}
	}
}

func TestDataSourceNames(t *testing.T) {
	t.Parallel()
	d := newDialer(t)
	seen := 0
	eachDSN(func(want, dsn string) {
		seen++
		_, err := mysql.NewConnector(d, dsn)
		got := "bad"
		switch {
		case err == nil:
			got = "ok"
		case errors.Is(err, cloudsqlconn.ErrBadName):
			got = "bad-name"
		case errors.Is(err, cloudsqlconn.ErrConfig):
			got = "bad-config"
		}
		if got != want {
			t.Errorf("%s: %s, %v; want %s", dsn, got, err, want)
		}
		if e, ok := errors.AsType[*cloudsqlconn.Error](err); err != nil && (!ok || e.Op != cloudsqlconn.OpConfig || e.Hint == "") {
			t.Errorf("%s: got %#v", dsn, err)
		}
		if err != nil && (strings.Contains(err.Error(), "secret") || strings.ContainsAny(err.Error(), "\r\n")) {
			t.Errorf("%s: the error is %v", dsn, err)
		}
		if got == "bad-name" && !strings.Contains(err.Error(), "project:region:instance") {
			t.Errorf("%s: %v does not say what is wanted", dsn, err)
		}
	})
	if seen < 40 {
		t.Errorf("the corpus has %d lines", seen)
	}
}

// The name in the address is the Dialer's to understand: instances can have
// domain names, too.
func TestTheAddressIsPassedOnAsItIs(t *testing.T) {
	t.Parallel()
	for dsn, want := range map[string]string{
		"u:p@cloudsql-mysql(db.example.com)/db":                          "db.example.com",
		"u:p@tcp(db.example.com)/db":                                     "db.example.com",
		"u:p@tcp(my-project:europe-west1:my-db)/db":                      "my-project:europe-west1:my-db",
		"u:p@cloudsql-mysql(example.com:my-project:europe-west1:my-db)/": "example.com:my-project:europe-west1:my-db",
		"u:p@cloudsql-mysql(orders:primary)/db":                          "orders:primary",
	} {
		var got string
		d := newDialer(t, cloudsqlconn.WithResolver(resolver(func(name string) { got = name })))
		c, err := mysql.NewConnector(d, dsn)
		wantNil(t, err)
		if _, err := c.Connect(t.Context()); !errors.Is(err, errResolved) || got != want {
			t.Errorf("%s: resolved %q, %v; want %q", dsn, got, err, want)
		}
	}
}

var errResolved = errors.New("resolved")

type resolver func(name string)

func (r resolver) Resolve(_ context.Context, name string) (cloudsqlconn.Resolution, error) {
	r(name)
	return cloudsqlconn.Resolution{}, errResolved
}

func TestDialOptionsInTheDataSourceName(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const public, private = "127.1.0.1", "127.2.0.1"
		w := newWorld(t, cloudsqltest.Instance{Addrs: map[cloudsqlconn.IPType]string{cloudsqlconn.PublicIP: public, cloudsqlconn.PrivateIP: private}})
		defer w.close()
		var dialled []string
		dial := cloudsqlconn.WithDialFunc(func(ctx context.Context, network, addr string) (net.Conn, error) {
			host, _, _ := net.SplitHostPort(addr)
			dialled = append(dialled, host)
			return w.kit.DialContext(ctx, network, addr)
		})
		for _, c := range []struct {
			params string
			opts   []cloudsqlconn.DialOption
			addr   string
			user   string
		}{
			{"", nil, public, "me@example.com"},
			{"?cloudsql_ip_types=PRIVATE,PUBLIC", nil, private, "me@example.com"},
			{"?cloudsql_iam_authn=true", nil, public, "me"},
			{"?cloudsql_iam_authn=1&cloudsql_ip_types=private", nil, private, "me"},
			{"?cloudsql_ip_types=PUBLIC", []cloudsqlconn.DialOption{cloudsqlconn.WithPrivateIP()}, public, "me@example.com"},
			{"?cloudsql_iam_authn=false", []cloudsqlconn.DialOption{cloudsqlconn.WithIAMAuthN(true)}, public, "me@example.com"},
		} {
			dialled = nil
			before := len(w.mysql.Logins())
			db := w.open("me@example.com@cloudsql-mysql("+instance+")/shop"+c.params, append(c.opts, dial)...)
			wantNil(t, db.PingContext(t.Context()))
			wantNil(t, db.Close())
			login := w.mysql.Logins()[before]
			if !slices.Equal(dialled, []string{c.addr}) || login.User != c.user {
				t.Errorf("%s: dialled %v as %s; want %s as %s", c.params, dialled, login.User, c.addr, c.user)
			}
		}
		// SET statements are how go-sql-driver passes parameters on.
		for _, q := range w.mysql.Queries() {
			t.Errorf("the server was sent %q", q)
		}
	})
}

func FuzzNewConnector(f *testing.F) {
	eachDSN(func(_, dsn string) { f.Add(dsn) })
	d := newDialer(f)
	f.Fuzz(func(t *testing.T, dsn string) {
		c, err := mysql.NewConnector(d, dsn)
		if (c == nil) == (err == nil) {
			t.Errorf("NewConnector(%q) = %v, %v", dsn, c, err)
		}
	})
}
