package auth_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn/internal/auth"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/authtest"
)

const (
	adminToken = "admin-token"
	loginToken = "login-token"
	target     = "db@my-project.iam.gserviceaccount.com"
)

func newServer(t *testing.T) *authtest.Server {
	t.Helper()
	s := authtest.NewServer(adminToken, loginToken)
	t.Cleanup(s.Close)
	return s
}

// want checks the token of a source.
func want(t *testing.T, ts oauth2.TokenSource, token string) {
	t.Helper()
	tok, err := ts.Token()
	if err != nil {
		t.Fatal(err)
	}
	if tok.AccessToken != token {
		t.Errorf("token %q, want %q", tok.AccessToken, token)
	}
}

// wantError checks what kind of error a source returns.
func wantError[E error](t *testing.T, ts oauth2.TokenSource) (e E) {
	t.Helper()
	tok, err := ts.Token()
	if !errors.As(err, &e) {
		t.Fatalf("got %v, %v, want a %T", tok, err, e)
	}
	return e
}

func write(t *testing.T, name string, content []byte) string {
	t.Helper()
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestBothSourcesShareOneLookup(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	name := write(t, filepath.Join(t.TempDir(), "user.json"), s.User())
	creds := auth.New(auth.Config{File: name})
	var wg sync.WaitGroup
	wg.Go(func() { want(t, creds.Admin(), adminToken) })
	wg.Go(func() { want(t, creds.Admin(), adminToken) })
	wg.Wait()
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	want(t, creds.Login(), loginToken)
}

func TestAFailedLookupIsMadeAgain(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	name := filepath.Join(t.TempDir(), "user.json")
	creds := auth.New(auth.Config{File: name})
	login := creds.Login()
	wantError[*auth.NotFoundError](t, login)
	write(t, name, s.ServiceAccount()[:100])
	wantError[*auth.NotFoundError](t, login)
	write(t, name, s.User())
	want(t, login, loginToken)
}

// x/oauth2 takes an answer without a token for one that never expires.
func TestAnEmptyTokenIsNotKept(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	var asked atomic.Int32
	s.Fail = func(*http.Request) *authtest.Failure {
		if asked.Add(1) > 1 {
			return nil
		}
		return &authtest.Failure{Code: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: "{}"}
	}
	admin := auth.New(auth.Config{JSON: s.ServiceAccount()}).Admin()
	if tok, err := admin.Token(); err == nil && tok.AccessToken != "" {
		t.Fatal("the fault did not happen")
	}
	want(t, admin, adminToken)
}

// As when a key is revoked and its file replaced.
func TestARefusedTokenHasTheCredentialsLookedUpAgain(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	name := write(t, filepath.Join(t.TempDir(), "key.json"), s.ServiceAccount())
	other := s.User()
	synctest.Test(t, func(t *testing.T) {
		admin := auth.New(auth.Config{File: name, HTTPClient: s.InProcess()}).Admin()
		want(t, admin, adminToken)
		write(t, name, other)
		if admin.Replace(adminToken) {
			t.Error("a token that has just been made is to be replaced")
		}
		time.Sleep(time.Minute)
		if !admin.Replace(adminToken) {
			t.Error("a token of a minute ago is not to be replaced")
		}
		want(t, admin, adminToken)
	})
	if calls := s.Calls(); len(calls) != 2 || calls[0].Who == calls[1].Who {
		t.Errorf("tokens were asked for by %+v", calls)
	}
}

// As when somebody runs `gcloud auth application-default login` again.
func TestRefusedCredentialsAreLookedUpAgain(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	name := write(t, filepath.Join(t.TempDir(), "user.json"), authtest.With(s.User(), map[string]any{"refresh_token": "expired"}))
	creds := auth.New(auth.Config{File: name})
	e := wantError[*auth.RefusedError](t, creds.Admin())
	if e.Step != auth.UserLogin || e.Code != http.StatusBadRequest {
		t.Errorf("refused: %q, %d", e.Step, e.Code)
	}
	write(t, name, s.User())
	want(t, creds.Admin(), adminToken)
}

// A token is used again while it lives long enough for what it is for.
func TestTokensAreFreshEnough(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		source func(*auth.Credentials) *auth.Source
		last   time.Duration // of a token of one hour
	}{
		"admin": {(*auth.Credentials).Admin, 59 * time.Minute},
		"login": {(*auth.Credentials).Login, 30 * time.Minute},
	} {
		s := newServer(t)
		key := s.ServiceAccount()
		synctest.Test(t, func(t *testing.T) {
			ts := tt.source(auth.New(auth.Config{JSON: key, HTTPClient: s.InProcess()}))
			for _, step := range []struct {
				wait  time.Duration
				calls int
			}{{0, 1}, {tt.last - time.Second, 1}, {2 * time.Second, 2}} {
				time.Sleep(step.wait)
				if _, err := ts.Token(); err != nil {
					t.Fatal(err)
				}
				if n := len(s.Calls()); n != step.calls {
					t.Errorf("%s: %d calls, want %d", name, n, step.calls)
				}
			}
		})
	}
}

func TestASilentServerIsGivenUp(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	key := s.ServiceAccount()
	synctest.Test(t, func(t *testing.T) {
		silent := &http.Client{Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
			<-req.Context().Done()
			return nil, req.Context().Err()
		})}
		creds := auth.New(auth.Config{JSON: key, Target: target, HTTPClient: silent})
		began := time.Now()
		if _, err := creds.Admin().Token(); err == nil || time.Since(began) != 20*time.Second {
			t.Errorf("error %v after %v", err, time.Since(began))
		}
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

func TestQuotaProjectOfTheFile(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	for _, project := range []string{"", "billing"} {
		creds := auth.New(auth.Config{JSON: authtest.With(s.User(), map[string]any{"quota_project_id": project})})
		tok, err := creds.Admin().Token()
		if err != nil {
			t.Fatal(err)
		}
		if got := auth.QuotaProject(tok); got != project {
			t.Errorf("quota project %q, want %q", got, project)
		}
	}
	if got := auth.QuotaProject(&oauth2.Token{}); got != "" {
		t.Errorf("quota project of a caller's token: %q", got)
	}
}

func TestCredentialsOfAnotherUniverse(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	elsewhere := authtest.With(s.ServiceAccount(), map[string]any{"universe_domain": "elsewhere.example"})
	for _, cfg := range []auth.Config{
		{JSON: elsewhere},
		{JSON: s.ServiceAccount(), Universe: "elsewhere.example"},
		{JSON: authtest.With(s.User(), map[string]any{"universe_domain": "elsewhere.example"}), Universe: "elsewhere.example"},
		{JSON: s.Impersonated(target, s.User()), Universe: "elsewhere.example"},
		{JSON: s.User(), Target: target, Universe: "elsewhere.example"},
	} {
		text := wantError[*auth.ConfigError](t, auth.New(cfg).Admin()).Error()
		if !strings.Contains(text, "googleapis.com") || !strings.Contains(text, "elsewhere.example") {
			t.Errorf("%q does not show both", text)
		}
	}
	if n := s.Asked(); n != 0 {
		t.Errorf("%d requests with credentials of another universe", n)
	}
	want(t, auth.New(auth.Config{
		Base: oauth2.StaticTokenSource(&oauth2.Token{AccessToken: authtest.CloudToken}), Target: target,
		Universe: "elsewhere.example", HTTPClient: s.Client("elsewhere.example"),
	}).Login(), loginToken)
}

// There is no token endpoint outside the public cloud.
func TestKeysOfOtherUniversesSignTheirTokens(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	creds := auth.New(auth.Config{JSON: authtest.With(s.ServiceAccount(), map[string]any{"universe_domain": "elsewhere.example"}), Universe: "elsewhere.example"})
	for scope, ts := range map[string]oauth2.TokenSource{authtest.AdminScope: creds.Admin(), authtest.LoginScope: creds.Login()} {
		tok, err := ts.Token()
		if err != nil {
			t.Fatal(err)
		}
		if got := authtest.SelfSignedScope(tok.AccessToken); got != scope || tok.Expiry.IsZero() {
			t.Errorf("scope %q until %v, want %q", got, tok.Expiry, scope)
		}
	}
	if n := s.Asked(); n != 0 {
		t.Errorf("%d requests", n)
	}
}

// Cloud SQL takes the token of a workforce login in a certificate, though its
// scope cannot be narrowed.
func TestWorkforceLoginsLogIn(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	creds := auth.New(auth.Config{JSON: s.Workforce()})
	tok, err := creds.Login().Token()
	if err != nil || tok.AccessToken != s.Tokens[""] {
		t.Errorf("got %v, %v", tok, err)
	}
	if calls := s.Calls(); len(calls) != 1 || calls[0] != (authtest.Call{Who: "workforce user"}) {
		t.Errorf("calls %v, want one of a workforce user, without a scope", calls)
	}
}

func TestAByteOrderMarkIsSkipped(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	for _, file := range [][]byte{s.User(), s.ServiceAccount(), s.ExternalAccount(t.TempDir())} {
		marked := append([]byte("\ufeff"), file...)
		if err := auth.CheckJSON(marked); err != nil {
			t.Errorf("CheckJSON: %v", err)
		}
		if _, err := auth.New(auth.Config{JSON: marked}).Admin().Token(); err != nil {
			t.Error(err)
		}
	}
}

func TestAnEmptyTokenOfTheCallerImpersonatesNobody(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	creds := auth.New(auth.Config{Base: oauth2.StaticTokenSource(&oauth2.Token{}), Target: target, HTTPClient: s.Client()})
	if _, err := creds.Admin().Token(); err == nil || s.Asked() != 0 {
		t.Errorf("got %v, %d requests", err, s.Asked())
	}
	own := errors.New("the caller's own")
	creds = auth.New(auth.Config{Base: failing{own}, Target: target, HTTPClient: s.Client()})
	if _, err := creds.Admin().Token(); !errors.Is(err, own) {
		t.Errorf("got %v, want %v", err, own)
	}
}

type failing struct{ err error }

func (f failing) Token() (*oauth2.Token, error) { return nil, f.err }

// Environment variables: not parallel.
func TestMetadataServer(t *testing.T) {
	s := newServer(t)
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
	t.Setenv("CLOUDSDK_CONFIG", t.TempDir())
	t.Setenv("NO_GCE_CHECK", "")
	t.Setenv("GCE_METADATA_HOST", s.Listener.Addr().String())
	creds := auth.New(auth.Config{})
	want(t, creds.Admin(), adminToken)
	want(t, creds.Login(), loginToken)
	want(t, creds.Login(), loginToken)
	if n := s.Asked(); n != 3 { // the universe, and each kind of token, once
		t.Errorf("%d requests, want 3", n)
	}
	s.Universe = "elsewhere.example"
	wantError[*auth.ConfigError](t, auth.New(auth.Config{}).Admin())
	want(t, auth.New(auth.Config{Universe: s.Universe}).Admin(), adminToken)

	s.Universe, s.Life = "", 0
	if _, err := auth.New(auth.Config{}).Admin().Token(); err == nil || !strings.Contains(err.Error(), "holds no token") {
		t.Errorf("a token without a life: %v", err)
	}
	t.Setenv("NO_GCE_CHECK", "true")
	wantError[*auth.NotFoundError](t, auth.New(auth.Config{}).Admin())
}

func TestEveryFieldMatters(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	files := map[string][]byte{
		"service_account":              s.ServiceAccount(),
		"authorized_user":              s.User(),
		"external_account":             s.ExternalAccount(""),
		"impersonated_service_account": s.Impersonated(target, s.User()),
	}
	fields := map[string][]string{
		"service_account":              {"client_email", "private_key"},
		"authorized_user":              {"client_id", "client_secret", "refresh_token"},
		"external_account":             {"audience", "subject_token_type", "credential_source"},
		"impersonated_service_account": {"source_credentials", "service_account_impersonation_url"},
	}
	for kind, file := range files {
		if err := auth.CheckJSON(file); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		for _, field := range append(fields[kind], "type") {
			if err := auth.CheckJSON(authtest.With(file, map[string]any{field: nil})); err == nil {
				t.Errorf("%s without %s passes", kind, field)
			}
		}
	}
	client := []byte(`{"type":"service_account","installed":{"client_id":"x","redirect_uris":["x"]}}`)
	if err := auth.CheckJSON(client); err == nil || !strings.Contains(err.Error(), "OAuth client") {
		t.Errorf("an OAuth client: %v", err)
	}
	if err := auth.CheckJSON([]byte("null")); err == nil {
		t.Error("null passes")
	}
}

func TestAKeyThatIsNoneIsToldBeforeAnythingIsSent(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	broken := authtest.With(s.ServiceAccount(), map[string]any{"private_key": "secret but no key"})
	if text := wantError[*auth.NotFoundError](t, auth.New(auth.Config{JSON: broken}).Admin()).Error(); strings.Contains(text, "secret") {
		t.Errorf("%q shows the key", text)
	}
	if n := s.Asked(); n != 0 {
		t.Errorf("%d requests", n)
	}
}

func TestScopesOfAnotherAccountAreItsOwn(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	file := authtest.With(s.Impersonated(target, authtest.With(s.User(), map[string]any{"quota_project_id": "of-user"})), map[string]any{"quota_project_id": "of-target"})
	tok, err := auth.New(auth.Config{JSON: file}).Admin().Token()
	if err != nil {
		t.Fatal(err)
	}
	if got := auth.QuotaProject(tok); got != "of-target" {
		t.Errorf("quota project %q", got)
	}
	wantCalls := []authtest.Call{{Who: "user"}, {Who: "impersonated " + target + ", counted for of-user", Scope: "sqlservice.admin"}}
	if got := s.Calls(); !slices.Equal(got, wantCalls) {
		t.Errorf("calls %v, want %v", got, wantCalls)
	}
}
