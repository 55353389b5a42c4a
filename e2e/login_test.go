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
			hint string
		}{
			{"wrong password", login{"app", "wr0ng"}, "`gcloud sql users set-password app "},
			{"no password", login{user: "app"}, "No password was given"},
			{"IAM user without IAM login", login{user: i.iamUser}, "WithIAMAuthN"},
			{"IAM user without IAM login but with a password", login{i.iamUser, "wr0ng"}, "WithIAMAuthN"},
			{"no such user", login{"nobody", "wr0ng"}, "`gcloud sql users list --instance=my-db --project=my-project`"},
		} {
			t.Run(who.name, func(t *testing.T) {
				err := i.open(t, who.login).PingContext(t.Context())
				if !i.loginRefused(err) {
					t.Errorf("got error %v, want that of the server", err)
				}
				wantHint(t, err, who.hint)
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

func TestAMissingDatabaseHasAHint(t *testing.T) {
	eachEngine(t, func(t *testing.T, e *engine) {
		i := e.newInstance(t)
		for database, hint := range map[string]string{"e2e_missing": "`gcloud sql databases list --instance=my-db --project=my-project`", i.database: ""} {
			for _, who := range []login{app, iam} {
				c, err := i.connector(i.dialer, i.dsn(instanceName, who, database), cloudsqlconn.WithIAMAuthN(who == iam))
				wantNil(t, err)
				conn, err := c.Connect(t.Context())
				if hint == "" {
					wantNil(t, err)
					wantNil(t, conn.Close())
					continue
				}
				if !i.noDatabase(err) {
					t.Errorf("got error %v, want that of the server", err)
				}
				wantHint(t, err, hint)
			}
		}
	})
}

// MySQL does not tell whether there is a database that the user may not use.
func TestADatabaseOfOthersHasAHint(t *testing.T) {
	eachMySQL(t, func(t *testing.T, e *engine) {
		i := e.newInstance(t)
		c, err := i.connector(i.dialer, i.dsn(instanceName, app, "others"))
		wantNil(t, err)
		_, err = c.Connect(t.Context())
		if mysqlError(err) != 1044 { // ER_DBACCESS_DENIED_ERROR
			t.Errorf("got error %v, want that of the server", err)
		}
		wantHint(t, err, "whether the user may use it")
	})
}

// wantHint checks that err is of the login to the instance, with a hint that has this
// in it, and shows no password.
func wantHint(t *testing.T, err error, hint string) {
	t.Helper()
	e, ok := errors.AsType[*cloudsqlconn.Error](err)
	if !ok || e.Op != cloudsqlconn.OpLogin || e.Instance != instanceName || !strings.Contains(e.Hint, hint) || strings.Contains(err.Error()+e.Hint, "wr0ng") {
		t.Errorf("got %v of %#v, want the hint %q", err, e, hint)
	}
}
