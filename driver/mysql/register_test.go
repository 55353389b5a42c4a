package mysql_test

import (
	"context"
	"database/sql"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	native "github.com/go-sql-driver/mysql"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/driver/mysql"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/mysqlserver"
)

// openNative opens go-sql-driver's own driver with a registered name for the
// network.
func (w *world) openNative(user string) (db *sql.DB, cleanup func() error) {
	w.t.Helper()
	name, unregister := register(w.t, w.kit.Options()...)
	db, err := sql.Open("mysql", user+"@"+name+"("+instance+")/shop")
	wantNil(w.t, err)
	db.SetMaxIdleConns(-1)
	return db, func() error { return errors.Join(db.Close(), unregister()) }
}

// The driver does not know that it is believed to be encrypted: the instance is
// told nothing, and hands out its RSA key.
func TestTheDriverNamedMySQLConnectsByARegisteredName(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, cloudsqltest.Instance{MetadataExchange: cloudsqltest.AcceptMetadata})
		defer w.close()
		db, cleanup := w.openNative("app:secret")
		wantNil(t, db.PingContext(t.Context()))
		wantNil(t, db.PingContext(t.Context()))
		w.wantPaths(mysqlserver.FullRSA, mysqlserver.Fast)
		if told := w.instance.MetadataExchanges(); len(told) != 0 {
			t.Errorf("the instance was told %+v", told)
		}
		wantNil(t, cleanup())
	})
}

// An IAM login through the driver named mysql: MySQL asks for a password in clear
// text, of which there is none, and the driver must be allowed to send it.
func TestTheDriverNamedMySQLLogsInByIAM(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var tokens []string
		server := &mysqlserver.Server{Accounts: map[string]mysqlserver.Account{"me": {Plugin: mysqlserver.ClearPassword}}}
		w := newWorld(t, cloudsqltest.Instance{Handler: func(c net.Conn) {
			tokens = append(tokens, c.(*cloudsqltest.Conn).Token())
			server.Serve(c)
		}})
		defer w.close()
		name, cleanup := register(t, append(w.kit.Options(), cloudsqlconn.WithIAMAuthN(true))...)
		dsn := "me@" + name + "(" + instance + ")/shop"
		for params, want := range map[string]error{"?allowCleartextPasswords=true": nil, "": native.ErrCleartextPassword} {
			db, err := sql.Open("mysql", dsn+params)
			wantNil(t, err)
			if err := db.PingContext(t.Context()); !errors.Is(err, want) {
				t.Errorf("%s: got %v, want %v", params, err, want)
			}
			wantNil(t, db.Close())
		}
		wantNil(t, cleanup())
		synctest.Wait()
		for _, token := range tokens {
			if token != w.kit.LoginToken() {
				t.Errorf("a certificate has the token %q", token)
			}
		}
		if logins := server.Logins(); !slices.ContainsFunc(logins, func(l mysqlserver.Login) bool { return l.OK && l.User == "me" && l.Path == mysqlserver.Clear }) {
			t.Errorf("logins: %+v", logins)
		}
	})
}

func TestTheDriverNamedMySQLForgetsANameAfterCleanup(t *testing.T) {
	t.Parallel()
	name, cleanup := register(t)
	db, err := sql.Open("mysql", "app:secret@"+name+"("+instance+")/shop")
	wantNil(t, err)
	defer db.Close()
	wantNil(t, cleanup())
	wantNil(t, cleanup())
	if err := db.PingContext(t.Context()); err == nil || !strings.Contains(err.Error(), "unknown network "+name) {
		t.Errorf("got %v", err)
	}
}

func TestTheDriverNamedMySQLRefusesWhatIsNoMySQLInstance(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, cloudsqltest.Instance{DatabaseVersion: "POSTGRES_18"})
		defer w.close()
		name, cleanup := register(t, w.kit.Options()...)
		defer func() { wantNil(t, cleanup()) }()
		for addr, want := range map[string]error{
			instance:           cloudsqlconn.ErrConfig,
			"my-project:my-db": cloudsqlconn.ErrBadName,
			"localhost":        cloudsqlconn.ErrBadName,
		} {
			db, err := sql.Open("mysql", "app:secret@"+name+"("+addr+")/shop")
			wantNil(t, err)
			if err := db.PingContext(t.Context()); !errors.Is(err, want) || cloudsqlconn.Hint(err) == "" {
				t.Errorf("%s: got %v, want %v", addr, err, want)
			}
			wantNil(t, db.Close())
		}
	})
}

// F15
func TestTheDriverNamedMySQLConnectsAgainWhenTheClientCertificateIsRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, cloudsqltest.Instance{})
		defer w.close()
		db, cleanup := w.openNative("app:secret")
		wantNil(t, db.PingContext(t.Context()))
		w.instance.RotateClientCA()
		wantNil(t, db.PingContext(t.Context()))
		synctest.Wait()
		if n := w.instance.Counts().Rejected; n != 1 {
			t.Errorf("%d handshakes rejected, want 1", n)
		}
		wantNil(t, cleanup())
	})
}

// F21
func TestAPingOfTheDriverNamedMySQLEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, cloudsqltest.Instance{})
		defer w.close()
		w.instance.SetBehavior(cloudsqltest.Silent)
		db, cleanup := w.openNative("app:secret")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		err := db.PingContext(ctx)
		if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took > 1100*time.Millisecond {
			t.Errorf("PingContext ended after %v with %v", took, err)
		}
		if w.instance.Counts().Silent == 0 {
			t.Error("the fault did not happen")
		}
		wantNil(t, cleanup())
	})
}

func TestNetworksOfDirectConnectionsAreNotTaken(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"tcp", "unix"} {
		nothing, err := mysql.RegisterDriver(name)
		if !errors.Is(err, cloudsqlconn.ErrConfig) || cloudsqlconn.Hint(err) == "" || nothing() != nil {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
