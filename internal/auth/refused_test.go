package auth_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/auth"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/authtest"
)

// ways are the ways to a token whose last request is the one named.
func ways(s *authtest.Server, dir string) map[auth.Step]struct {
	path string
	cfg  auth.Config
} {
	return map[auth.Step]struct {
		path string
		cfg  auth.Config
	}{
		auth.AccountKey:               {"/token", auth.Config{JSON: s.ServiceAccount()}},
		auth.UserLogin:                {"/token", auth.Config{JSON: s.User()}},
		auth.Federation:               {"/sts", auth.Config{JSON: s.ExternalAccount(dir)}},
		auth.SubjectToken:             {"/subject-token", auth.Config{JSON: s.ExternalAccount("")}},
		auth.Impersonation:            {"/v1/", auth.Config{JSON: s.Impersonated(target, s.ServiceAccount())}},
		auth.Impersonation + " (STS)": {"/v1/", auth.Config{JSON: authtest.With(s.ExternalAccount(dir), map[string]any{"service_account_impersonation_url": s.ImpersonationURL(target)})}},
		auth.Impersonation + " (API)": {"/v1/", auth.Config{Base: oauth2.StaticTokenSource(&oauth2.Token{AccessToken: authtest.CloudToken}), Target: target, HTTPClient: s.Client()}},
	}
}

func TestRefusalsOfEveryServer(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		code       int
		header     http.Header
		retryAfter time.Duration
		terminal   bool
	}{
		{code: 400, terminal: true},
		{code: 401, terminal: true},
		{code: 403, terminal: true},
		{code: 404, terminal: true},
		{code: 408},
		{code: 429, retryAfter: 5 * time.Second},
		{code: 429, header: http.Header{"Retry-After": {"12"}}, retryAfter: 12 * time.Second},
		{code: 503, header: http.Header{"Retry-After": {"12"}}, retryAfter: 12 * time.Second},
		{code: 500},
	} {
		s := newServer(t)
		for step, way := range ways(s, t.TempDir()) {
			// F40: the server echoes what it was sent.
			s.Fail = func(r *http.Request) *authtest.Failure {
				if !strings.HasPrefix(r.URL.Path, way.path) {
					return nil
				}
				return &authtest.Failure{Code: tt.code, Header: tt.header}
			}
			asked := s.Asked()
			_, err := auth.New(way.cfg).Login().Token()
			if s.Asked() == asked {
				t.Fatalf("%s: the fault did not happen", step)
			}
			text := fmt.Sprintf("%v %+v", err, err)
			kind, _, _ := strings.Cut(string(step), " (")
			if !strings.HasPrefix(text, kind) {
				t.Errorf("%s: the error is %q", step, text)
			}
			if kind == string(auth.Impersonation) && !strings.Contains(text, target) {
				t.Errorf("%s: %q does not name the account", step, text)
			}
			for _, secret := range authtest.Secrets() {
				if strings.Contains(text, secret) {
					t.Errorf("%s, %d: %q is in %q", step, tt.code, secret, text)
				}
			}
			err = fmt.Errorf("wrapped: %w", err)
			if got := admin.Terminal(err); got != tt.terminal {
				t.Errorf("%s, %d: terminal %v", step, tt.code, got)
			}
			if got := admin.Quota(err); got != (tt.code == 429) {
				t.Errorf("%s, %d: quota %v", step, tt.code, got)
			}
			if got := admin.RetryAfter(err, time.Now()); got != tt.retryAfter {
				t.Errorf("%s, %d: retry after %v, want %v", step, tt.code, got, tt.retryAfter)
			}
		}
	}
}

// A page of a filtering proxy, or the text of anything else, is no refusal by the
// server: it may pass, and says nothing about the credentials.
func TestAnAnswerInAnotherFormIsNobodysRefusal(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		code       int
		begin, end string
	}{
		"page":         {403, "<html><title>", "</title></html>"},
		"another API":  {404, `{"message":"no route: `, `"}`},
		"text":         {401, "", ""},
		"sign-in page": {200, "<!DOCTYPE html><title>", "</title>"},
	} {
		s := newServer(t)
		for step, way := range ways(s, t.TempDir()) {
			if step == auth.SubjectToken { // anybody's server
				continue
			}
			s.Fail = func(r *http.Request) *authtest.Failure {
				if !strings.HasPrefix(r.URL.Path, way.path) {
					return nil
				}
				return &authtest.Failure{Code: tt.code, Body: tt.begin + r.Header.Get("Authorization") + r.Form.Encode() + tt.end}
			}
			_, err := auth.New(way.cfg).Login().Token()
			refused, ok := errors.AsType[*auth.RefusedError](err)
			if !ok || !refused.Stranger || refused.Host == "" || refused.Code != tt.code || admin.Terminal(err) || len(err.Error()) > 400 {
				t.Errorf("%s, %s: got %v", step, name, err)
			}
			for _, secret := range authtest.Secrets() {
				if strings.Contains(err.Error(), secret[:min(len(secret), 20)]) {
					t.Errorf("%s, %s: a secret is in %q", step, name, err)
				}
			}
		}
	}
}

// What is sent to a token server is for nobody else.
func TestRequestsWithSecretsAreNotRedirected(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	for step, way := range ways(s, t.TempDir()) {
		elsewhere := 0
		s.Fail = func(r *http.Request) *authtest.Failure {
			switch {
			case r.URL.Path == "/elsewhere":
				elsewhere++
			case strings.HasPrefix(r.URL.Path, way.path):
				return &authtest.Failure{Code: http.StatusTemporaryRedirect, Header: http.Header{"Location": {s.URL + "/elsewhere"}}, Body: "moved"}
			}
			return nil
		}
		_, err := auth.New(way.cfg).Login().Token()
		if step == auth.SubjectToken { // anybody's server, which is only asked
			if elsewhere == 0 {
				t.Errorf("%s: was not redirected: %v", step, err)
			}
			continue
		}
		refused, ok := errors.AsType[*auth.RefusedError](err)
		if !ok || refused.Code != http.StatusTemporaryRedirect || !strings.Contains(err.Error(), "307 Temporary Redirect to "+s.URL) || admin.Terminal(err) {
			t.Errorf("%s: got %v", step, err)
		}
		if elsewhere > 0 {
			t.Errorf("%s: was redirected", step)
		}
	}
}

// A reply without sense, or none, may be better the next time.
func TestSenselessRepliesAreTransient(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"text":     "secret",
		"null":     "null",
		"empty":    "{}",
		"no life":  `{"access_token":"secret","accessToken":"secret"}`,
		"too long": `{"access_token":"` + strings.Repeat("secret", 1<<20) + `"}`,
	} {
		s := newServer(t)
		for step, way := range ways(s, t.TempDir()) {
			if step == auth.SubjectToken || name == "no life" && (step == auth.AccountKey || step == auth.UserLogin) { // fine
				continue
			}
			s.Fail = func(r *http.Request) *authtest.Failure {
				if !strings.HasPrefix(r.URL.Path, way.path) {
					return nil
				}
				return &authtest.Failure{Code: 200, Body: body}
			}
			tok, err := auth.New(way.cfg).Login().Token()
			if (name == "null" || name == "empty") && err == nil && tok.AccessToken == "" { // the caller refuses it
				continue
			}
			if err == nil || admin.Terminal(err) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%s, %s: got %v, %v", step, name, tok, err)
			}
		}
	}
}

// An executable that prints nonsense may have printed a token.
func TestTheOutputOfAnExecutableIsNotShown(t *testing.T) {
	s := newServer(t)
	t.Setenv("GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES", "1")
	t.Setenv(printEnv, "secret")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file := authtest.With(s.ExternalAccount(""), map[string]any{"credential_source": map[string]any{
		"executable": map[string]any{"command": self, "timeout_millis": 30000},
	}})
	e := wantError[*auth.NotFoundError](t, auth.New(auth.Config{JSON: file}).Admin())
	if text := e.Error(); strings.Contains(text, "secret") || !strings.Contains(text, "response") {
		t.Errorf("the error is %q", text)
	}
}
