package e2e

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/authtest"
)

func TestPasswordAndIAMLoginsOnOneDialer(t *testing.T) {
	eachEngine(t, func(t *testing.T, e *engine) {
		i := e.newInstance(t)
		withPassword := i.open(t, app)
		withIAM := i.open(t, iam, cloudsqlconn.WithIAMAuthN(true))
		for _, db := range []queryer{withPassword, withIAM} {
			wantAnswer(t, db)
		}
		// In turn, on new connections.
		withPassword.SetMaxIdleConns(-1)
		withIAM.SetMaxIdleConns(-1)
		for range 3 {
			wantUser(t, i, withPassword, app.user)
			wantUser(t, i, withIAM, i.iamUser)
		}
	})
}

func TestIAMLoginAsTheDefaultOfADialer(t *testing.T) {
	eachEngine(t, func(t *testing.T, e *engine) {
		i := e.newInstance(t, cloudsqlconn.WithIAMAuthN(true))
		wantUser(t, i, i.open(t, iam), i.iamUser)
		wantUser(t, i, i.open(t, login{user: i.iamUser}), i.iamUser)
		wantUser(t, i, i.open(t, app, cloudsqlconn.WithIAMAuthN(false)), app.user)
	})
}

// The data source name has no user: it is the account of the credentials.
func TestIAMLoginNeedsNoUser(t *testing.T) {
	eachEngine(t, func(t *testing.T, e *engine) {
		i := e.newInstance(t)
		tokens := authtest.NewServer(i.kit.Token(), i.kit.LoginToken())
		defer tokens.Close()
		d, err := cloudsqlconn.NewDialer(t.Context(),
			cloudsqlconn.WithAdminAPIEndpoint(i.kit.URL()), cloudsqlconn.WithDialFunc(i.network.DialContext),
			cloudsqlconn.WithTokenSource(oauth2.StaticTokenSource(&oauth2.Token{AccessToken: authtest.CloudToken})),
			cloudsqlconn.WithImpersonation(iamEmail), cloudsqlconn.WithHTTPClient(tokens.Client()),
			cloudsqlconn.WithIAMAuthN(true))
		wantNil(t, err)
		defer d.Close()
		wantUser(t, i, i.openWith(t, d, login{}), i.iamUser)
	})
}

func wantUser(t *testing.T, i *instance, q queryer, want string) {
	t.Helper()
	if got := value[string](t, q, i.currentUser); got != want {
		t.Errorf("the server knows the user as %q, want %q", got, want)
	}
}

func TestServerRefusesTheseLogins(t *testing.T) {
	eachEngine(t, func(t *testing.T, e *engine) {
		i := e.newInstance(t)
		for _, who := range []struct {
			name string
			login
		}{
			{"wrong password", login{"app", "wrong"}},
			{"no password", login{user: "app"}},
			{"IAM user without IAM login", login{user: i.iamUser}},
			{"IAM user without IAM login but with a password", login{i.iamUser, "secret"}},
		} {
			t.Run(who.name, func(t *testing.T) {
				err := i.open(t, who.login).PingContext(t.Context())
				if !i.loginRefused(err) {
					t.Errorf("got error %v, want that of the server", err)
				}
			})
		}
	})
}

func TestARefusedIAMLoginHasAHint(t *testing.T) {
	eachEngine(t, func(t *testing.T, e *engine) {
		i := e.newInstance(t)
		err := i.open(t, login{user: "stranger"}, cloudsqlconn.WithIAMAuthN(true)).PingContext(t.Context())
		var hinted *cloudsqlconn.Error
		if !errors.As(err, &hinted) || hinted.Op != "login" || !strings.Contains(hinted.Hint, "IAM") {
			t.Errorf("got %v", err)
		}
	})
}
