package faults_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/authtest"
)

// route sends what is for the kit's Admin API there, and the rest elsewhere.
type route struct{ api, rest http.RoundTripper }

func (r route) RoundTrip(req *http.Request) (*http.Response, error) {
	if strings.HasPrefix(req.URL.Host, "sqladmin.") {
		return r.api.RoundTrip(req)
	}
	return r.rest.RoundTrip(req)
}

// tokenWays are credentials, and the path of the last request on their way to
// a token.
var tokenWays = map[string]struct {
	path string
	opts func(s *authtest.Server, dir string) []cloudsqlconn.Option
	hint string // to a refusal
}{
	"service account": {"/token", func(s *authtest.Server, _ string) []cloudsqlconn.Option {
		return []cloudsqlconn.Option{cloudsqlconn.WithCredentialsJSON(s.ServiceAccount())}
	}, "keys list"},
	"user": {"/token", func(s *authtest.Server, _ string) []cloudsqlconn.Option {
		return []cloudsqlconn.Option{cloudsqlconn.WithCredentialsJSON(s.User())}
	}, "gcloud auth application-default login"},
	"external account": {"/sts", func(s *authtest.Server, dir string) []cloudsqlconn.Option {
		return []cloudsqlconn.Option{cloudsqlconn.WithCredentialsJSON(s.ExternalAccount(dir))}
	}, "audience"},
	"subject token": {"/subject-token", func(s *authtest.Server, _ string) []cloudsqlconn.Option {
		return []cloudsqlconn.Option{cloudsqlconn.WithCredentialsJSON(s.ExternalAccount(""))}
	}, "credential_source"},
	"external account that impersonates": {"/v1/", func(s *authtest.Server, dir string) []cloudsqlconn.Option {
		text := authtest.With(s.ExternalAccount(dir), map[string]any{"service_account_impersonation_url": s.ImpersonationURL(target)})
		return []cloudsqlconn.Option{cloudsqlconn.WithCredentialsJSON(text)}
	}, "roles/iam.serviceAccountTokenCreator on " + target},
	"impersonated service account": {"/v1/", func(s *authtest.Server, _ string) []cloudsqlconn.Option {
		return []cloudsqlconn.Option{cloudsqlconn.WithCredentialsJSON(s.Impersonated(target, s.User()))}
	}, "roles/iam.serviceAccountTokenCreator on " + target},
	"WithImpersonation": {"/v1/", func(s *authtest.Server, _ string) []cloudsqlconn.Option {
		return []cloudsqlconn.Option{cloudsqlconn.WithCredentialsJSON(s.User()), cloudsqlconn.WithImpersonation(target)}
	}, "roles/iam.serviceAccountTokenCreator on " + target},
}

// throughTokenServers runs a test, on fake time, for each way to a token. The
// last server on it fails in the first n requests, or always with 0.
func throughTokenServers(t *testing.T, n int64, failure authtest.Failure, test func(t *testing.T, w *world, hint string, failed func() int64)) {
	t.Helper()
	for name, way := range tokenWays {
		t.Run(name, func(t *testing.T) {
			s := authtest.NewServer("admin", "login") // outside the bubble: it listens
			t.Cleanup(s.Close)
			var failed atomic.Int64
			s.Fail = func(r *http.Request) *authtest.Failure {
				if !strings.HasPrefix(r.URL.Path, way.path) || n > 0 && failed.Load() >= n {
					return nil
				}
				failed.Add(1)
				f := failure
				return &f
			}
			opts := way.opts(s, t.TempDir())
			inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
				_ = w.dialer.Close()
				s.Tokens = map[string]string{"": w.Token(), authtest.AdminScope: w.Token(), authtest.LoginScope: w.LoginToken(), authtest.CloudScope: authtest.CloudToken}
				d, err := cloudsqlconn.NewDialer(context.Background(), append(opts,
					cloudsqlconn.WithAdminAPIEndpoint(w.URL()), cloudsqlconn.WithDialFunc(w.DialContext),
					cloudsqlconn.WithHTTPClient(&http.Client{Transport: route{w.Client().Transport, s.InProcess().Transport}}))...)
				if err != nil {
					t.Fatal(err)
				}
				w.dialer = d
				test(t, w, way.hint, failed.Load)
			})
		})
	}
}

// F40: the server that refuses echoes what it was sent.
func TestARefusedTokenIsToldAtOnce(t *testing.T) {
	throughTokenServers(t, 0, authtest.Failure{Code: http.StatusForbidden}, func(t *testing.T, w *world, hint string, failed func() int64) {
		for _, iam := range []bool{false, true} {
			synctest.Wait() // the other half of the refresh
			before := failed()
			var e *cloudsqlconn.Error
			took := took(func() { e = w.wantError(cloudsqlconn.ErrPermission, time.Minute, cloudsqlconn.WithIAMAuthN(iam)) })
			if took > 0 || !strings.Contains(e.Hint, hint) {
				t.Errorf("after %v: %v, hint %q", took, e, e.Hint)
			}
			synctest.Wait()
			if n := failed() - before; n == 0 || n > 2 { // the two halves of a refresh
				t.Errorf("%d tokens were asked for", n)
			}
			printed := fmt.Sprintf("%v %+v %#v %+v %+v", e, e, e, w.dialer, w.dialer.Instances())
			for _, secret := range append(authtest.Secrets(), w.Token(), w.LoginToken()) {
				if strings.Contains(printed, secret) {
					t.Errorf("%q is in %q", secret, printed)
				}
			}
		}
		w.wantCalls(0)
	})
}

// F13
func TestATokenServerThatFailsOnceIsAskedAgain(t *testing.T) {
	throughTokenServers(t, 2, authtest.Failure{Code: http.StatusInternalServerError}, func(t *testing.T, w *world, _ string, failed func() int64) {
		w.wantDial()
		w.wantDial(cloudsqlconn.WithIAMAuthN(true))
		if failed() == 0 {
			t.Error("the fault did not happen")
		}
	})
}

// F13
func TestAMetadataServerThatFailsOnceIsAskedAgain(t *testing.T) {
	g := newGoogle(t)
	t.Setenv("NO_GCE_CHECK", "")
	t.Setenv("GCE_METADATA_HOST", g.auth.Listener.Addr().String())
	var failed atomic.Int64 // universe, token
	g.auth.Fail = func(*http.Request) *authtest.Failure {
		if n := failed.Add(1); n != 1 && n != 3 {
			return nil
		}
		return &authtest.Failure{Code: http.StatusInternalServerError}
	}
	g.wantConn(t, g.dialer(t), "")
	if n := failed.Load(); n != 4 {
		t.Errorf("%d requests, want 4", n)
	}
}

// As F8, for the servers that give tokens.
func TestRetryAfterOfATokenServerIsObeyed(t *testing.T) {
	failure := authtest.Failure{Code: http.StatusServiceUnavailable, Header: http.Header{"Retry-After": {"12"}}}
	throughTokenServers(t, 1, failure, func(t *testing.T, w *world, _ string, failed func() int64) {
		if d := took(func() { w.wantDial() }); d < 12*time.Second || failed() != 1 {
			t.Errorf("Dial took %v; %d failures", d, failed())
		}
	})
}

func TestCredentialsOfAnotherUniverseAreAnError(t *testing.T) {
	g := newGoogle(t)
	for _, opts := range [][]cloudsqlconn.Option{
		{cloudsqlconn.WithCredentialsJSON(g.auth.User()), cloudsqlconn.WithUniverseDomain("elsewhere.example"), cloudsqlconn.WithAdminAPIEndpoint("https://sqladmin.elsewhere.example")},
		{cloudsqlconn.WithCredentialsJSON(authtest.With(g.auth.ServiceAccount(), map[string]any{"universe_domain": "elsewhere.example"}))},
	} {
		e := dialError(t, g.dialer(t, opts...))
		if !errors.Is(e, cloudsqlconn.ErrConfig) || !strings.Contains(e.Error(), "googleapis.com") || !strings.Contains(e.Error(), "elsewhere.example") {
			t.Errorf("got %v, want ErrConfig and both universes", e)
		}
	}
	t.Setenv("GOOGLE_CLOUD_UNIVERSE_DOMAIN", "elsewhere.example")
	if e := dialError(t, g.dialer(t, cloudsqlconn.WithCredentialsJSON(g.auth.User()))); !errors.Is(e, cloudsqlconn.ErrConfig) {
		t.Errorf("got %v, want ErrConfig", e)
	}
	if n := g.auth.Asked() + len(g.Requests()); n != 0 {
		t.Errorf("%d requests", n)
	}
}
