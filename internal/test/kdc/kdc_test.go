package kdc_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jcmturner/gokrb5/v8/client"
	"github.com/jcmturner/gokrb5/v8/config"
	"github.com/jcmturner/gokrb5/v8/keytab"

	"github.com/cloudsqlconn/cloudsqlconn/internal/test/kdc"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/testmain"
)

func TestMain(m *testing.M) { os.Exit(testmain.Run(m)) }

func wantNil(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// start starts a realm. Without MIT Kerberos the test is skipped, but not in
// CI.
func start(t *testing.T) *kdc.Server {
	t.Helper()
	s, err := kdc.Start(t.Context(), "TEST.EXAMPLE")
	if errors.Is(err, kdc.ErrNotInstalled) && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	wantNil(t, err)
	t.Cleanup(func() { wantNil(t, s.Close()) })
	return s
}

func TestUsersLogInUntilTheRealmIsClosed(t *testing.T) {
	t.Parallel()
	s := start(t)
	wantNil(t, s.AddUser(t.Context(), "app", "secret"))
	if err := s.AddUser(t.Context(), "app", "secret"); err == nil {
		t.Error("a user could be added twice")
	}
	file, err := s.AddService(t.Context(), "svc/db.example:1433")
	wantNil(t, err)
	conf, err := config.Load(s.Config())
	wantNil(t, err)
	login := func(password string) error {
		c := client.NewWithPassword("app", "TEST.EXAMPLE", password, conf, client.DisablePAFXFAST(true))
		defer c.Destroy()
		if err := c.Login(); err != nil {
			return err
		}
		ticket, _, err := c.GetServiceTicket("svc/db.example:1433")
		if err != nil {
			return err
		}
		keys, err := keytab.Load(file)
		wantNil(t, err)
		return ticket.DecryptEncPart(keys, nil)
	}
	wantNil(t, login("secret"))
	if err := login("wrong"); err == nil {
		t.Error("a wrong password: no error")
	}
	users, err := s.Keytab(t.Context(), "app")
	wantNil(t, err)
	wantNil(t, login("secret"))
	cache, err := s.Cache(t.Context(), "app", users)
	wantNil(t, err)
	if _, err := os.Stat(cache); err != nil {
		t.Error(err)
	}
	if _, err := s.Cache(t.Context(), "other", users); err == nil {
		t.Error("an unknown user: no error")
	}

	addr := conf.Realms[0].KDC[0]
	wantNil(t, s.Close())
	if c, err := net.Dial("tcp", addr); err == nil {
		c.Close()
		t.Error("the server runs on")
	}
	if _, err := os.Stat(filepath.Dir(s.Config())); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the files are still there: %v", err)
	}
	wantNil(t, s.Close())
}

func TestAMissingProgramIsAnErrorThatSaysHowToInstallIt(t *testing.T) {
	s := start(t)
	t.Setenv("PATH", t.TempDir()) // kinit is in no folder for the administrator
	_, err := s.Cache(t.Context(), "app", "keytab")
	if !errors.Is(err, kdc.ErrNotInstalled) || !strings.Contains(err.Error(), "krb5-user") {
		t.Errorf("got %v", err)
	}
}
