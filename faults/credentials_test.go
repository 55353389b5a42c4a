package faults_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/authtest"
)

// The accounts that tests impersonate.
const (
	target   = "db@my-project.iam.gserviceaccount.com"
	delegate = "hop@my-project.iam.gserviceaccount.com"
)

// google is an emulated instance, and all the servers that tokens come from.
type google struct {
	*cloudsqltest.Server
	auth        *authtest.Server
	loginTokens chan string // of the certificates that the instance saw
}

// newGoogle starts the servers, on a machine without credentials.
func newGoogle(t *testing.T) *google {
	t.Helper()
	home := t.TempDir()
	for name, value := range map[string]string{
		"GOOGLE_APPLICATION_CREDENTIALS": "", "GOOGLE_CLOUD_QUOTA_PROJECT": "", "GOOGLE_CLOUD_UNIVERSE_DOMAIN": "",
		"CLOUDSDK_CONFIG": "", "HOME": home, "APPDATA": home, "GCE_METADATA_HOST": "", "NO_GCE_CHECK": "true",
	} {
		t.Setenv(name, value)
	}
	g := &google{Server: cloudsqltest.NewServer(), loginTokens: make(chan string, 64)}
	t.Cleanup(g.Close)
	g.auth = authtest.NewServer(g.Token(), g.LoginToken())
	t.Cleanup(g.auth.Close)
	g.AddInstance(testInstance, cloudsqltest.Instance{Handler: func(c net.Conn) {
		g.loginTokens <- c.(*cloudsqltest.Conn).Token()
		_, _ = io.Copy(c, c)
	}})
	return g
}

// dialer returns a Dialer that is told nothing about credentials but by opts.
func (g *google) dialer(t *testing.T, opts ...cloudsqlconn.Option) *cloudsqlconn.Dialer {
	t.Helper()
	d, err := cloudsqlconn.NewDialer(context.Background(), append([]cloudsqlconn.Option{
		cloudsqlconn.WithAdminAPIEndpoint(g.URL()), cloudsqlconn.WithDialFunc(g.DialContext),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// dialError is the error of a Dial.
func dialError(t *testing.T, d *cloudsqlconn.Dialer, opts ...cloudsqlconn.DialOption) *cloudsqlconn.Error {
	t.Helper()
	c, err := d.Dial(t.Context(), testInstance, opts...)
	if err == nil {
		_ = c.Close()
		t.Fatal("Dial succeeded")
	}
	var e *cloudsqlconn.Error
	if !errors.As(err, &e) {
		t.Fatalf("got an error of type %T", err)
	}
	return e
}

// file writes a file.
func file(t *testing.T, name string, content []byte) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// tokens returns a source of one token.
func tokens(token string) oauth2.TokenSource {
	return oauth2.StaticTokenSource(&oauth2.Token{AccessToken: token})
}

// Each source of credentials connects, with a password and with IAM login, and
// each token has one scope. want are the tokens that are asked for: for the
// first Dial, and for the second, which reuses the first one's.
func TestEverySourceOfCredentials(t *testing.T) {
	const (
		key        = "key of " + authtest.Account
		delegates  = "projects/-/serviceAccounts/" + delegate
		adminScope = "sqlservice.admin"
		loginScope = "sqlservice.login"
		cloud      = "cloud-platform"
	)
	for name, tt := range map[string]struct {
		arrange         func(t *testing.T, g *google) []cloudsqlconn.Option
		password, login []authtest.Call
		noIAM           bool
		principal       string // "": not known
	}{
		"service account file": {
			arrange: func(t *testing.T, g *google) []cloudsqlconn.Option {
				return []cloudsqlconn.Option{cloudsqlconn.WithCredentialsFile(file(t, t.TempDir()+"/key.json", g.auth.ServiceAccount()))}
			},
			password:  []authtest.Call{{Who: key, Scope: adminScope}},
			login:     []authtest.Call{{Who: key, Scope: loginScope}},
			principal: authtest.Account,
		},
		"service account JSON": {
			arrange: func(_ *testing.T, g *google) []cloudsqlconn.Option {
				return []cloudsqlconn.Option{cloudsqlconn.WithCredentialsJSON(g.auth.ServiceAccount())}
			},
			password:  []authtest.Call{{Who: key, Scope: adminScope}},
			login:     []authtest.Call{{Who: key, Scope: loginScope}},
			principal: authtest.Account,
		},
		"GOOGLE_APPLICATION_CREDENTIALS": {
			arrange: func(t *testing.T, g *google) []cloudsqlconn.Option {
				t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file(t, t.TempDir()+"/key.json", g.auth.ServiceAccount()))
				return nil
			},
			password:  []authtest.Call{{Who: key, Scope: adminScope}},
			login:     []authtest.Call{{Who: key, Scope: loginScope}},
			principal: authtest.Account,
		},
		"gcloud login": { // which has not granted sqlservice.admin
			arrange: func(t *testing.T, g *google) []cloudsqlconn.Option {
				dir := t.TempDir()
				t.Setenv("CLOUDSDK_CONFIG", dir)
				file(t, dir+"/application_default_credentials.json", g.auth.User())
				return nil
			},
			password: []authtest.Call{{Who: "user"}},
			login:    []authtest.Call{{Who: "user", Scope: loginScope}},
		},
		"external account": {
			arrange: func(t *testing.T, g *google) []cloudsqlconn.Option {
				return []cloudsqlconn.Option{cloudsqlconn.WithCredentialsJSON(g.auth.ExternalAccount(t.TempDir()))}
			},
			password: []authtest.Call{{Who: "external", Scope: adminScope}},
			login:    []authtest.Call{{Who: "external", Scope: loginScope}},
		},
		"external account, subject token by URL": {
			arrange: func(_ *testing.T, g *google) []cloudsqlconn.Option {
				return []cloudsqlconn.Option{cloudsqlconn.WithCredentialsJSON(g.auth.ExternalAccount(""))}
			},
			password: []authtest.Call{{Who: "external", Scope: adminScope}},
			login:    []authtest.Call{{Who: "external", Scope: loginScope}},
		},
		"external account that impersonates": {
			arrange: func(t *testing.T, g *google) []cloudsqlconn.Option {
				text := authtest.With(g.auth.ExternalAccount(t.TempDir()), map[string]any{"service_account_impersonation_url": g.auth.ImpersonationURL(target)})
				return []cloudsqlconn.Option{cloudsqlconn.WithCredentialsJSON(text)}
			},
			password:  []authtest.Call{{Who: "external", Scope: cloud}, {Who: "impersonated " + target, Scope: adminScope}},
			login:     []authtest.Call{{Who: "external", Scope: cloud}, {Who: "impersonated " + target, Scope: loginScope}},
			principal: target,
		},
		"impersonated service account": {
			arrange: func(_ *testing.T, g *google) []cloudsqlconn.Option {
				return []cloudsqlconn.Option{cloudsqlconn.WithCredentialsJSON(g.auth.Impersonated(target, g.auth.ServiceAccount(), delegates))}
			},
			password:  []authtest.Call{{Who: key, Scope: cloud}, {Who: "impersonated " + target, Scope: adminScope, Delegates: delegates}},
			login:     []authtest.Call{{Who: key, Scope: cloud}, {Who: "impersonated " + target, Scope: loginScope, Delegates: delegates}},
			principal: target,
		},
		"metadata server": {
			arrange: func(t *testing.T, g *google) []cloudsqlconn.Option {
				t.Setenv("NO_GCE_CHECK", "")
				t.Setenv("GCE_METADATA_HOST", g.auth.Listener.Addr().String())
				return nil
			},
			password:  []authtest.Call{{Who: "metadata", Scope: adminScope}},
			login:     []authtest.Call{{Who: "metadata", Scope: loginScope}},
			principal: authtest.Account,
		},
		"WithTokenSource": {
			arrange: func(_ *testing.T, g *google) []cloudsqlconn.Option {
				return []cloudsqlconn.Option{cloudsqlconn.WithTokenSource(tokens(g.Token()))}
			},
			noIAM: true,
		},
		"a workforce login": {
			arrange: func(_ *testing.T, g *google) []cloudsqlconn.Option {
				g.auth.Tokens[""] = g.LoginToken() // the kit tells its tokens apart
				g.SetTokens(g.LoginToken(), g.LoginToken())
				return []cloudsqlconn.Option{cloudsqlconn.WithCredentialsJSON(g.auth.Workforce())}
			},
			password: []authtest.Call{{Who: "workforce user"}},
			login:    []authtest.Call{{Who: "workforce user"}},
		},
		"WithIAMAuthNTokenSources": {
			arrange: func(_ *testing.T, g *google) []cloudsqlconn.Option {
				return []cloudsqlconn.Option{cloudsqlconn.WithIAMAuthNTokenSources(tokens(g.Token()), tokens(g.LoginToken()))}
			},
		},
		"WithHTTPClient": {
			arrange: func(_ *testing.T, g *google) []cloudsqlconn.Option {
				return []cloudsqlconn.Option{cloudsqlconn.WithHTTPClient(oauth2.NewClient(context.Background(), tokens(g.Token())))}
			},
			noIAM: true,
		},
		"WithImpersonation and default credentials": {
			arrange: func(t *testing.T, g *google) []cloudsqlconn.Option {
				user := authtest.With(g.auth.User(), map[string]any{"quota_project_id": "billing"})
				t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file(t, t.TempDir()+"/user.json", user))
				return []cloudsqlconn.Option{cloudsqlconn.WithImpersonation(target), cloudsqlconn.WithHTTPClient(g.auth.Client())}
			},
			password:  []authtest.Call{{Who: "user"}, {Who: "impersonated " + target + ", counted for billing", Scope: adminScope}},
			login:     []authtest.Call{{Who: "user"}, {Who: "impersonated " + target + ", counted for billing", Scope: loginScope}},
			principal: target,
		},
		"WithImpersonation and a file, with a delegate": {
			arrange: func(t *testing.T, g *google) []cloudsqlconn.Option {
				return []cloudsqlconn.Option{
					cloudsqlconn.WithCredentialsFile(file(t, t.TempDir()+"/key.json", g.auth.ServiceAccount())),
					cloudsqlconn.WithImpersonation(target, delegate), cloudsqlconn.WithHTTPClient(g.auth.Client()),
				}
			},
			password:  []authtest.Call{{Who: key, Scope: cloud}, {Who: "impersonated " + target, Scope: adminScope, Delegates: delegates}},
			login:     []authtest.Call{{Who: key, Scope: cloud}, {Who: "impersonated " + target, Scope: loginScope, Delegates: delegates}},
			principal: target,
		},
		"WithImpersonation and a token source, with delegates": {
			arrange: func(_ *testing.T, g *google) []cloudsqlconn.Option {
				return []cloudsqlconn.Option{
					cloudsqlconn.WithTokenSource(tokens(authtest.CloudToken)),
					cloudsqlconn.WithImpersonation(target, delegate, delegate), cloudsqlconn.WithHTTPClient(g.auth.Client()),
				}
			},
			password:  []authtest.Call{{Who: "impersonated " + target, Scope: adminScope, Delegates: delegates + " " + delegates}},
			login:     []authtest.Call{{Who: "impersonated " + target, Scope: loginScope, Delegates: delegates + " " + delegates}},
			principal: target,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGoogle(t)
			d := g.dialer(t, tt.arrange(t, g)...)
			if n := g.auth.Asked(); n != 0 {
				t.Errorf("NewDialer made %d requests", n)
			}
			g.wantConn(t, d, "")
			if got := g.auth.Calls(); !slices.Equal(got, tt.password) {
				t.Errorf("tokens for a password login: %v, want %v", got, tt.password)
			}
			if got, err := d.IAMPrincipal(t.Context()); got != tt.principal || err != nil {
				t.Errorf("IAMPrincipal: %q, %v; want %q", got, err, tt.principal)
			}
			if tt.noIAM {
				requests := len(g.Requests())
				if err := dialError(t, d, cloudsqlconn.WithIAMAuthN(true)); !errors.Is(err, cloudsqlconn.ErrConfig) {
					t.Errorf("IAM login: got %v, want ErrConfig", err)
				}
				if n := len(g.Requests()) - requests; n != 0 {
					t.Errorf("%d Admin API calls for an IAM login without a token", n)
				}
				return
			}
			g.wantConn(t, d, g.LoginToken(), cloudsqlconn.WithIAMAuthN(true))
			if got := g.auth.Calls()[len(tt.password):]; !slices.Equal(got, tt.login) {
				t.Errorf("tokens for an IAM login: %v, want %v", got, tt.login)
			}
		})
	}
}

// wantConn connects, and checks the token in the certificate.
func (g *google) wantConn(t *testing.T, d *cloudsqlconn.Dialer, token string, opts ...cloudsqlconn.DialOption) net.Conn {
	t.Helper()
	c, err := d.Dial(t.Context(), testInstance, opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := echo(c); err != nil {
		t.Fatal(err)
	}
	if got := <-g.loginTokens; got != token {
		t.Errorf("the certificate carries the token %q, want %q", got, token)
	}
	return c
}

// F35
func TestMissingCredentialsAreTold(t *testing.T) {
	g := newGoogle(t)
	missing := filepath.Join(t.TempDir(), "missing.json")
	folder := t.TempDir()
	garbage := file(t, t.TempDir()+"/garbage.json", []byte("secret"))
	for name, tt := range map[string]struct {
		env  string
		opts []cloudsqlconn.Option
		want []string // in error or hint
	}{
		"none":                  {want: []string{"GOOGLE_APPLICATION_CREDENTIALS is not set", "application_default_credentials.json", "gcloud auth application-default login", "WithTokenSource"}},
		"environment":           {env: missing, want: []string{missing, "gcloud auth application-default login"}},
		"file is missing":       {opts: []cloudsqlconn.Option{cloudsqlconn.WithCredentialsFile(missing)}, want: []string{missing, "WithCredentialsFile"}},
		"file is garbage":       {opts: []cloudsqlconn.Option{cloudsqlconn.WithCredentialsFile(garbage)}, want: []string{garbage, "want the JSON", "WithCredentialsFile"}},
		"file is a directory":   {opts: []cloudsqlconn.Option{cloudsqlconn.WithCredentialsFile(folder)}, want: []string{folder}},
		"none, to impersonate":  {opts: []cloudsqlconn.Option{cloudsqlconn.WithImpersonation(target)}, want: []string{"no Application Default Credentials"}},
		"subject token missing": {opts: []cloudsqlconn.Option{cloudsqlconn.WithCredentialsJSON(authtest.With(g.auth.ExternalAccount(t.TempDir()), map[string]any{"credential_source": map[string]any{"file": missing}}))}, want: []string{missing}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", tt.env)
			e := dialError(t, g.dialer(t, tt.opts...))
			if !errors.Is(e, cloudsqlconn.ErrPermission) {
				t.Errorf("got %v, want ErrPermission", e)
			}
			text := e.Error() + "\n" + e.Hint
			for _, want := range tt.want {
				if !strings.Contains(text, want) {
					t.Errorf("%q does not tell %q", text, want)
				}
			}
			if strings.Contains(text, "secret") {
				t.Errorf("%q shows the content", text)
			}
		})
	}
	if n := len(g.Requests()); n != 0 {
		t.Errorf("%d Admin API calls without credentials", n)
	}
}
