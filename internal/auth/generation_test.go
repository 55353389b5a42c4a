package auth_test

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/auth"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/authtest"
)

// The new look-up after a refusal may find nothing: what was found before goes
// on then, and its tokens too.
func TestALookUpThatFailsLeavesTheOldIdentityInUse(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	name := write(t, filepath.Join(t.TempDir(), "key.json"), s.ServiceAccount())
	synctest.Test(t, func(t *testing.T) {
		creds := auth.New(auth.Config{File: name, HTTPClient: s.InProcess()})
		admin, login := creds.Admin(), creds.Login()
		want(t, admin, adminToken)
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		refuse := true
		s.Fail = func(*http.Request) *authtest.Failure {
			if !refuse {
				return nil
			}
			return &authtest.Failure{Code: http.StatusBadRequest}
		}
		wantError[*auth.RefusedError](t, login)
		want(t, admin, adminToken) // which is held
		wantError[*auth.RefusedError](t, login)
		refuse = false
		want(t, login, loginToken)
		time.Sleep(time.Minute)
		if !admin.Replace(adminToken) {
			t.Error("a token of a minute ago is not to be replaced")
		}
		want(t, admin, adminToken)
		if email, err := creds.Email(t.Context()); email != authtest.Account || err != nil {
			t.Errorf("Email: %q, %v", email, err)
		}
	})
	if n := len(s.Calls()); n != 3 {
		t.Errorf("%d tokens were given, want 3", n)
	}
}

// A refused token drops the other kind's too: the next ones are of one account.
func TestARefusalDropsBothTokens(t *testing.T) {
	t.Parallel()
	for name, pair := range map[string][2]func(*auth.Credentials) *auth.Source{
		"admin": {(*auth.Credentials).Admin, (*auth.Credentials).Login},
		"login": {(*auth.Credentials).Login, (*auth.Credentials).Admin},
	} {
		s := newServer(t)
		file := write(t, filepath.Join(t.TempDir(), "key.json"), s.ServiceAccount())
		user := s.User()
		synctest.Test(t, func(t *testing.T) {
			creds := auth.New(auth.Config{File: file, HTTPClient: s.InProcess()})
			refused, other := pair[0](creds), pair[1](creds)
			tok, err := refused.Token()
			if err != nil {
				t.Fatal(err)
			}
			kept, err := other.Token()
			if err != nil {
				t.Fatal(err)
			}
			write(t, file, user)
			time.Sleep(time.Minute)
			if auth.OriginOf(kept).Outdated() || !refused.Replace(tok.AccessToken) || !auth.OriginOf(kept).Outdated() {
				t.Errorf("%s: the other token is not outdated by the refusal, or was before", name)
			}
			for _, ts := range []*auth.Source{refused, other} {
				if _, err := ts.Token(); err != nil {
					t.Fatal(err)
				}
			}
		})
		calls := s.Calls()
		if len(calls) != 4 || calls[2].Who != "user" || calls[3].Who != "user" {
			t.Errorf("%s: tokens were asked for by %+v", name, calls)
		}
	}
}
