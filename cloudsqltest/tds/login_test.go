package tds_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	mssql "github.com/microsoft/go-mssqldb"
	"github.com/microsoft/go-mssqldb/integratedauth"
	"github.com/microsoft/go-mssqldb/msdsn"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/tds"
)

func TestTheServerKeepsWhatAClientSaysAtLogin(t *testing.T) {
	t.Parallel()
	s := &tds.Server{Users: map[string]string{"app": "sécret;"}}
	db := open(t, s, `user id=app;password="sécret;";database=shop;app name=till;workstation id=pc7;packet size=8192;applicationintent=ReadOnly`)
	wantNil(t, db.PingContext(t.Context()))
	got := session(t, s)
	l := got.Login
	if l.User != "app" || l.Password != "sécret;" || l.Database != "shop" || l.AppName != "till" || l.HostName != "pc7" ||
		l.ServerName != "server" || l.Library != "go-mssqldb" || l.PacketSize != 8192 || !l.ReadOnly || l.TDSVersion != 0x74000004 || l.SSPI != nil {
		t.Errorf("got %+v", l)
	}
	if got.User != "app" || got.Ended || got.TLSVersion != 0 || got.Encryption != tds.NotSupported {
		t.Errorf("got %+v", got)
	}
	wantNil(t, db.Close())
}

func TestWrongLoginsAreRefused(t *testing.T) {
	t.Parallel()
	for _, dsn := range []string{"user id=app;password=wrong", "user id=other;password=secret", "user id=app", "authenticator=letter"} {
		s := &tds.Server{Users: map[string]string{"app": "secret"}}
		var e mssql.Error
		if err := open(t, s, dsn).PingContext(t.Context()); !errors.As(err, &e) || e.Number != 18456 || e.Class != 14 {
			t.Errorf("%s: got %v, want error 18456", dsn, err)
		}
		if got := session(t, s); got.User != "" {
			t.Errorf("%s: logged in as %q", dsn, got.User)
		}
	}
}

// The table of [MS-TDS] 2.2.6.5.
func TestTLSInsideTDSIsAgreedUponAsSpecified(t *testing.T) {
	t.Parallel()
	trust := ";trustservercertificate=true"
	for _, tt := range []struct {
		name          string
		config        *tls.Config
		force         bool
		dsn           string
		client, agree tds.Encryption
		tls, fails    bool
	}{
		{"none, client off", nil, false, "encrypt=false" + trust, tds.Off, tds.NotSupported, false, false},
		{"none, client on", nil, false, "encrypt=true" + trust, tds.On, tds.NotSupported, false, true},
		{"none, client without", nil, false, "encrypt=disable", tds.NotSupported, tds.NotSupported, false, false},
		{"offered, client off", serverTLS(), false, "encrypt=false" + trust, tds.Off, tds.Off, true, false},
		{"offered, client on", serverTLS(), false, "encrypt=true" + trust, tds.On, tds.On, true, false},
		{"offered, client without", serverTLS(), false, "encrypt=disable", tds.NotSupported, tds.NotSupported, false, false},
		{"forced, client off", serverTLS(), true, "encrypt=false" + trust, tds.Off, tds.Required, true, false},
		{"forced, client on", serverTLS(), true, "encrypt=true" + trust, tds.On, tds.On, true, false},
		{"forced, client without", serverTLS(), true, "encrypt=disable", tds.NotSupported, tds.Required, false, true},
	} {
		t.Run(fmt.Sprint(tt.name, ": ", tt.client, " and ", tt.agree), func(t *testing.T) {
			t.Parallel()
			s := &tds.Server{TLS: tt.config, ForceEncryption: tt.force, Users: map[string]string{"app": "secret"}}
			s.Answer("select 1", one)
			db := open(t, s, "user id=app;password=secret;"+tt.dsn)
			var n int
			err := db.QueryRowContext(t.Context(), "select 1").Scan(&n)
			if (err != nil) != tt.fails || !tt.fails && n != 1 {
				t.Errorf("got %d, %v", n, err)
			}
			got := s.Sessions()[0]
			if got.ClientEncryption != tt.client || got.Encryption != tt.agree {
				t.Errorf("the client said %v, the server %v; want %v, %v", got.ClientEncryption, got.Encryption, tt.client, tt.agree)
			}
			if (got.TLSVersion == tls.VersionTLS12) != tt.tls {
				t.Errorf("TLS version %#x", got.TLSVersion)
			}
		})
	}
}

func TestTDS8IsRefusedByName(t *testing.T) {
	t.Parallel()
	s := &tds.Server{TLS: serverTLS()}
	if err := open(t, s, "user id=app;encrypt=strict").PingContext(t.Context()); err == nil {
		t.Error("no error")
	}
	for _, got := range s.Sessions() {
		if got.Err == nil || !strings.Contains(got.Err.Error(), "encrypt=strict") {
			t.Errorf("got %v", got.Err)
		}
	}
}

func TestALoginOfManyPacketsIsEncryptedAsAgreedUpon(t *testing.T) {
	t.Parallel()
	for _, dsn := range []string{"encrypt=false;trustservercertificate=true", "encrypt=true;trustservercertificate=true", "encrypt=disable"} {
		s := &tds.Server{TLS: serverTLS(), Users: map[string]string{"app": "secret"}}
		long := strings.Repeat("x", 500) // 1000 bytes: two packets
		wantNil(t, open(t, s, "user id=app;password=secret;packet size=512;app name="+long+";"+dsn).PingContext(t.Context()))
		if got := session(t, s).Login.AppName; got != long {
			t.Errorf("%s: got %q", dsn, got)
		}
	}
}

// letter is an integrated authentication of three letters.
type letter struct{}

func init() {
	provider := integratedauth.ProviderFunc(func(msdsn.Config) (integratedauth.IntegratedAuthenticator, error) { return letter{}, nil })
	if err := integratedauth.SetIntegratedAuthenticationProvider("letter", provider); err != nil {
		panic(err)
	}
}

func (letter) InitialBytes() ([]byte, error) { return []byte("a"), nil }
func (letter) Free()                         {}
func (letter) NextBytes(b []byte) ([]byte, error) {
	if string(b) == "done" {
		return nil, nil
	}
	return append(b, '!'), nil
}

func TestSSPITokensGoToAndFro(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var heard []string
		s := &tds.Server{SSPI: func(token []byte) ([]byte, string, error) {
			heard = append(heard, string(token))
			switch len(heard) {
			case 1:
				return []byte("b"), "", nil
			case 2:
				return []byte("c"), "", nil
			}
			return []byte("done"), "me@EXAMPLE", nil
		}}
		wantNil(t, open(t, s, "authenticator=letter").PingContext(t.Context()))
		if got := strings.Join(heard, " "); got != "a b! c!" {
			t.Errorf("heard %q", got)
		}
		if got := session(t, s); got.User != "me@EXAMPLE" || string(got.Login.SSPI) != "a" || got.Login.User != "" {
			t.Errorf("got %+v", got)
		}
	})
}

func TestATokenThatSSPIRefusesIsALoginError(t *testing.T) {
	t.Parallel()
	refusal := errors.New("a bad token")
	s := &tds.Server{SSPI: func([]byte) ([]byte, string, error) { return nil, "", refusal }}
	var e mssql.Error
	if err := open(t, s, "authenticator=letter").PingContext(t.Context()); !errors.As(err, &e) || e.Number != 18456 {
		t.Errorf("got %v, want error 18456", err)
	}
}
