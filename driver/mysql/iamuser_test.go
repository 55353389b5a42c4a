package mysql_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/authtest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/mysqlserver"
)

const iamDSN = "cloudsql-mysql(" + instance + ")/shop?cloudsql_iam_authn=true" // without a user

// With a silent metadata server, a Ping with 500 ms took 20.0 s. Issue 13, 9b.
func TestAPingThatLooksForItsUserEndsWithItsContext(t *testing.T) {
	asked := make(chan struct{}, 100)
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
	}))
	t.Cleanup(silent.Close) // after the Dialer, which may be asking it
	for name, value := range map[string]string{
		"GOOGLE_APPLICATION_CREDENTIALS": "", "CLOUDSDK_CONFIG": t.TempDir(), "NO_GCE_CHECK": "", "GCE_METADATA_HOST": silent.Listener.Addr().String(),
	} {
		t.Setenv(name, value)
	}
	w := &world{t: t, dialer: newDialer(t)}
	db := w.open(iamDSN)
	defer db.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	failed := make(chan error, 1)
	go func() { failed <- db.PingContext(ctx) }()
	<-asked
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the caller's own context error", err)
	}
}

// elsewhere sends what is for the Admin API to the kit, and the rest to the
// servers that tokens come from.
type elsewhere struct{ api, rest http.RoundTripper }

func (e elsewhere) RoundTrip(req *http.Request) (*http.Response, error) {
	if strings.HasPrefix(req.URL.Host, "sqladmin.") {
		return e.api.RoundTrip(req)
	}
	return e.rest.RoundTrip(req)
}

// The credentials were replaced, and a token of the old ones refused: the driver
// logged in as the new account's user, with a certificate of the old account.
// Issue 13, 9a.
func TestTheUserIsTheCertificates(t *testing.T) {
	t.Parallel()
	s := authtest.NewServer("admin", "login") // outside the bubble: it listens
	defer s.Close()
	name := filepath.Join(t.TempDir(), "credentials.json")
	become := func(account, admin, login string) {
		t.Helper()
		wantNil(t, os.WriteFile(name, s.Impersonated(account+"@p.iam.gserviceaccount.com", s.User()), 0o600))
		s.Tokens = map[string]string{"": admin, authtest.AdminScope: admin, authtest.LoginScope: login}
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, cloudsqltest.Instance{})
		defer w.close()
		_ = w.dialer.Close()
		w.mysql.Accounts = map[string]mysqlserver.Account{"first": {}, "second": {}}
		w.kit.Principals = map[string]string{
			"admin 1": "first@p.iam.gserviceaccount.com", "login 1": "first@p.iam.gserviceaccount.com",
			"admin 2": "second@p.iam.gserviceaccount.com", "login 2": "second@p.iam.gserviceaccount.com",
		}
		revoked, refused := "", 0
		w.kit.OnRequest = func(r *http.Request) *cloudsqltest.Fault {
			if r.Header.Get("Authorization") != revoked {
				return nil
			}
			refused++
			return &cloudsqltest.Fault{Status: http.StatusUnauthorized}
		}
		const other = "my-project:europe-west1:other-db"
		w.kit.AddInstance(other, cloudsqltest.Instance{DatabaseVersion: "MYSQL_8_4"})
		become("first", "admin 1", "login 1")
		w.dialer = newDialer(t, cloudsqlconn.WithAdminAPIEndpoint(w.kit.URL()), cloudsqlconn.WithDialFunc(w.kit.DialContext), cloudsqlconn.WithCredentialsFile(name),
			cloudsqlconn.WithHTTPClient(&http.Client{Transport: elsewhere{w.kit.Client().Transport, s.InProcess().Transport}}))
		defer w.dialer.Close()
		db := w.open(iamDSN)
		defer db.Close()
		db.SetMaxIdleConns(-1)
		wantNil(t, db.PingContext(t.Context()))

		time.Sleep(2 * time.Minute)
		become("second", "admin 2", "login 2")
		revoked = "Bearer admin 1"
		wantNil(t, w.dialer.Warmup(t.Context(), other)) // meets the refusal
		if refused == 0 {
			t.Fatal("the fault did not happen")
		}
		wantNil(t, db.PingContext(t.Context()))
		synctest.Wait()
		wantNil(t, db.PingContext(t.Context()))
		var users []string
		for _, l := range w.mysql.Logins() {
			users = append(users, l.User)
		}
		if got := strings.Join(users, " "); got != "first first second" {
			t.Errorf("logged in as %s", got)
		}
	})
}
