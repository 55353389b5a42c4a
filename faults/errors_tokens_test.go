package faults_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"cloud.google.com/go/compute/metadata"
	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/auth"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/authtest"
)

// answers is the internet, which answers every request like this.
type answers struct {
	code   int
	header http.Header
	body   string
	err    error
}

func (a answers) RoundTrip(req *http.Request) (*http.Response, error) {
	if a.err != nil {
		return nil, a.err
	}
	return &http.Response{StatusCode: a.code, Status: fmt.Sprintf("%d %s", a.code, http.StatusText(a.code)), Header: a.header.Clone(), Body: io.NopCloser(strings.NewReader(a.body)), Request: req}, nil
}

// noNetwork is what a dial returns on a machine without one.
func noNetwork(host string) error {
	return &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}}
}

// login, accountKey and workload are credentials whose servers stand where the
// real ones do.
func login(s *authtest.Server) cloudsqlconn.Option {
	return cloudsqlconn.WithCredentialsJSON(authtest.With(s.User(), map[string]any{"token_uri": "https://oauth2.googleapis.com/token"}))
}

func accountKey(s *authtest.Server) cloudsqlconn.Option {
	return cloudsqlconn.WithCredentialsJSON(authtest.With(s.ServiceAccount(), map[string]any{"token_uri": "https://oauth2.googleapis.com/token"}))
}

func workload(s *authtest.Server, subject string) cloudsqlconn.Option {
	return cloudsqlconn.WithCredentialsJSON(authtest.With(s.ExternalAccount(""), map[string]any{
		"token_url": "https://sts.googleapis.com/v1/token", "credential_source": map[string]any{"url": subject},
	}))
}

// tokenFailures are those of a Dialer on a machine with nothing else than what
// it is given. The servers that give tokens answer like this.
func tokenFailures(s *authtest.Server, dir string) []failure {
	refused := func(name string, internet answers, opts ...cloudsqlconn.Option) failure {
		return failure{name: name, before: func(w *world) { only(w, internet, opts...) }}
	}
	grant := answers{code: 400, body: `{"error":"invalid_grant","error_description":"Token has been expired or revoked."}`}
	signature := answers{code: 400, body: `{"error":"invalid_grant","error_description":"Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe."}`}
	late := signature
	late.header = http.Header{"Date": {"Sat, 01 Jan 2000 00:17:00 GMT"}} // fake time begins at midnight
	denied := answers{code: 403, body: cloudsqltest.ErrorBody(403, "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist).", "forbidden")}
	missing := answers{code: 404, body: cloudsqltest.ErrorBody(404, "Not found; Gaia id not found for email "+target, "notFound")}
	impersonation := options{cloudsqlconn.WithTokenSource(tokens("some-access-token")), cloudsqlconn.WithImpersonation(target)}
	return []failure{
		{name: "no credentials", outside: func(t *testing.T) error {
			g := newGoogle(t)
			t.Setenv("HOME", "/nowhere") // in the text
			return dialError(t, g.dialer(t))
		}},
		{name: "a machine without a service account", before: func(w *world) {
			only(w, nil, cloudsqlconn.WithTokenSource(failedToken{metadata.NotDefinedError("instance/service-accounts/default/token")}))
		}},
		refused("a program for subject tokens that may not be run", answers{}, cloudsqlconn.WithCredentialsJSON(authtest.With(s.ExternalAccount(""), map[string]any{
			"credential_source": map[string]any{"executable": map[string]any{"command": "/usr/bin/token", "timeout_millis": 5000}},
		}))),
		refused("a subject token's file that does not exist", answers{}, cloudsqlconn.WithCredentialsJSON(authtest.With(s.ExternalAccount(""), map[string]any{
			"credential_source": map[string]any{"file": "/var/run/secrets/no-such-token"},
		}))),
		{name: "JSON in place of a path", outside: func(t *testing.T) error {
			g := newGoogle(t)
			t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", string(s.ServiceAccount()))
			return dialError(t, g.dialer(t))
		}},
		refused("a credentials file that does not exist", answers{}, cloudsqlconn.WithCredentialsFile("no-such-file.json")),
		refused("a login that has expired", grant, login(s)),
		refused("a key that was deleted", signature, accountKey(s)),
		refused("a key, and a clock that is behind", late, accountKey(s)),
		refused("impersonation that is not allowed", denied, impersonation...),
		refused("impersonation of an account that does not exist", missing, impersonation...),
		refused("an external identity that is refused", answers{code: 400, body: `{"error":"invalid_grant","error_description":"The audience in ID Token does not match."}`},
			cloudsqlconn.WithCredentialsJSON(authtest.With(s.ExternalAccount(dir), map[string]any{"token_url": "https://sts.googleapis.com/v1/token"}))),
		refused("no subject token", answers{code: 404, body: "no such path"}, workload(s, "http://localhost:8080/token")),
		refused("a token server that is unavailable", answers{code: 503, body: "try again"}, login(s)),
		{name: "a token server that is unavailable, and a caller with little time", before: func(w *world) { only(w, answers{code: 503, body: "try again"}, login(s)) }, fail: littleTime},
		{name: "a login without the scope for IAM login", dial: dialOptions{cloudsqlconn.WithIAMAuthN(true)}, before: func(w *world) {
			only(w, answers{code: 400, body: `{"error":"invalid_scope","error_description":"Bad Request"}`}, login(s))
		}},
		refused("a filtering proxy in place of the token server", answers{code: 403, body: "<html><title>Blocked by policy</title></html>"}, login(s)),
		refused("a captive portal in place of the token server", answers{code: 200, body: "<html><title>Welcome</title></html>"}, login(s)),
		refused("a filtering proxy in place of the Security Token Service", answers{code: 403, body: "<html><title>Blocked by policy</title></html>"}, cloudsqlconn.WithCredentialsJSON(authtest.With(s.ExternalAccount(dir), map[string]any{"token_url": "https://sts.googleapis.com/v1/token"}))),
		refused("a filtering proxy in place of the IAM Credentials API", answers{code: 403, body: "<html><title>Blocked by policy</title></html>"}, impersonation...),
		{name: "a metadata server that the environment names, where nothing answers", before: func(w *world) {
			refused := &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 13308}, Err: syscall.ECONNREFUSED}
			only(w, nil, cloudsqlconn.WithTokenSource(failedToken{&auth.MetadataHostError{Err: refused}}))
		}},
		{name: "GKE, without a binding", outside: gke(403)},
		{name: "GKE, and a service account that does not exist", outside: gke(404)},
		refused("no network", answers{err: noNetwork("oauth2.googleapis.com")}, login(s)),
		refused("a token server's certificate, and a wrong clock", answers{err: clockTLS("oauth2.googleapis.com")}, login(s)),
		refused("credentials of another universe", answers{}, login(s), cloudsqlconn.WithUniverseDomain("example.cloud"), cloudsqlconn.WithAdminAPIEndpoint("https://sqladmin.example.cloud")),
		{name: "an empty token", opts: options{cloudsqlconn.WithIAMAuthNTokenSources(tokens(""), tokens("x"))}},
		{name: "a login token that has expired", dial: dialOptions{cloudsqlconn.WithIAMAuthN(true)}, before: func(w *world) {
			w.dialer = w.newDialer(cloudsqlconn.WithIAMAuthNTokenSources(tokens(w.Token()), expiredToken{}))
		}},
		{name: "IAM login with a token source that makes no login tokens", dial: dialOptions{cloudsqlconn.WithIAMAuthN(true)}, before: func(w *world) {
			only(w, nil, cloudsqlconn.WithTokenSource(tokens(w.Token())))
		}},
	}
}

// gke is a Dial on GKE, whose metadata server refuses.
func gke(code int) func(t *testing.T) error {
	return func(t *testing.T) error {
		g := newGoogle(t)
		onMachine(t, g.auth.Listener.Addr())
		g.auth.Fail = authtest.GKE(code)
		return dialError(t, g.dialer(t))
	}
}

// failedToken is what a token source returns.
type failedToken struct{ err error }

func (f failedToken) Token() (*oauth2.Token, error) { return nil, f.err }

type expiredToken struct{}

func (expiredToken) Token() (*oauth2.Token, error) {
	return &oauth2.Token{AccessToken: "login-token-of-yesterday", Expiry: time.Date(1999, 12, 31, 23, 0, 0, 0, time.UTC)}, nil
}

// clockTLS is the error of a handshake with a certificate that has expired by
// the local clock.
func clockTLS(name string) error {
	return &tls.CertificateVerificationError{Err: x509.CertificateInvalidError{
		Cert: &x509.Certificate{DNSNames: []string{name}}, Reason: x509.Expired, Detail: "current time 2000-01-01T00:00:00Z is before 2026-05-01T00:00:00Z",
	}}
}
