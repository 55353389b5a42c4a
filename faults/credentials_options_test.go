package faults_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/authtest"
)

// F30
func TestCredentialsThatContradictEachOther(t *testing.T) {
	g := newGoogle(t)
	var (
		name   = cloudsqlconn.WithCredentialsFile("key.json")
		text   = cloudsqlconn.WithCredentialsJSON(g.auth.User())
		one    = cloudsqlconn.WithTokenSource(tokens("t"))
		two    = cloudsqlconn.WithIAMAuthNTokenSources(tokens("t"), tokens("t"))
		other  = cloudsqlconn.WithImpersonation(target)
		client = cloudsqlconn.WithHTTPClient(http.DefaultClient)
		iam    = cloudsqlconn.WithIAMAuthN(true)
	)
	for _, tt := range []struct {
		opts []cloudsqlconn.Option
		want []string // nil: fine
	}{
		{opts: []cloudsqlconn.Option{name, name}},
		{opts: []cloudsqlconn.Option{two, two, iam}},
		{opts: []cloudsqlconn.Option{name, other, client, iam}},
		{opts: []cloudsqlconn.Option{one, other, client, iam}},
		{opts: []cloudsqlconn.Option{text, client, iam}},
		{[]cloudsqlconn.Option{name, text}, []string{"WithCredentialsFile and WithCredentialsJSON: want one of them"}},
		{[]cloudsqlconn.Option{one, name, two, text, other}, []string{"WithTokenSource and WithCredentialsFile and WithIAMAuthNTokenSources and WithCredentialsJSON and WithImpersonation: want one of them"}},
		{[]cloudsqlconn.Option{two, other}, []string{"WithIAMAuthNTokenSources and WithImpersonation: want one of them"}},
		{[]cloudsqlconn.Option{one, iam}, []string{"WithIAMAuthN with WithTokenSource", "WithImpersonation"}},
		{[]cloudsqlconn.Option{client, iam}, []string{"WithIAMAuthN with WithHTTPClient"}},
		{[]cloudsqlconn.Option{
			cloudsqlconn.WithCredentialsFile(""), cloudsqlconn.WithCredentialsJSON(nil), cloudsqlconn.WithImpersonation("", "a/b", ""),
			cloudsqlconn.WithUniverseDomain(""), cloudsqlconn.WithQuotaProject("a\nb"),
		}, []string{
			"WithCredentialsFile: the name is empty", "WithCredentialsJSON: the JSON is empty", "WithImpersonation: the target is empty",
			"with '/' in it", "a delegate is empty", "WithUniverseDomain: the domain is empty", "WithQuotaProject", "want one of them",
		}},
		{[]cloudsqlconn.Option{cloudsqlconn.WithUniverseDomain("https://x.example")}, []string{"WithUniverseDomain", "with '/' in it"}},
		{[]cloudsqlconn.Option{cloudsqlconn.WithUniverseDomain("x.example:443/")}, []string{"WithUniverseDomain"}},
		{opts: []cloudsqlconn.Option{cloudsqlconn.WithUniverseDomain("x.example"), cloudsqlconn.WithAdminAPIEndpoint("https://SQLadmin-psc.p.X.example")}},
		{[]cloudsqlconn.Option{cloudsqlconn.WithUniverseDomain("x.example"), cloudsqlconn.WithAdminAPIEndpoint("https://sqladmin.googleapis.com")}, []string{"the endpoint is not in the universe \"x.example\"", "want one of them"}},
		{[]cloudsqlconn.Option{cloudsqlconn.WithUniverseDomain("x.example"), cloudsqlconn.WithAdminAPIEndpoint("http://not-x.example")}, []string{"the endpoint is not in the universe"}},
		{[]cloudsqlconn.Option{cloudsqlconn.WithCredentialsJSON([]byte(`{"type":"A secret"}`))}, []string{"WithCredentialsJSON", "authorized_user"}},
		{[]cloudsqlconn.Option{cloudsqlconn.WithCredentialsJSON([]byte(`{"type":"gdch_service_account"}`))}, []string{`the type "gdch_service_account" is not one of`}},
		{[]cloudsqlconn.Option{cloudsqlconn.WithCredentialsFile(`{"type":"secret"}`)}, []string{"WithCredentialsFile: this is JSON, not a path; use WithCredentialsJSON"}},
	} {
		d, err := cloudsqlconn.NewDialer(context.Background(), tt.opts...)
		if err == nil {
			_ = d.Close()
		}
		if tt.want == nil && err == nil {
			continue
		}
		if tt.want == nil || !errors.Is(err, cloudsqlconn.ErrConfig) {
			t.Errorf("got %v, want ErrConfig with %q", err, tt.want)
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q does not tell %q", err, want)
			}
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("%q shows the JSON", err)
		}
	}
}

func TestQuotaProject(t *testing.T) {
	g := newGoogle(t)
	for _, tt := range []struct{ option, env, file, want string }{
		{"", "", "", ""},
		{"", "", "file", "file"},
		{"", "environment", "file", "environment"},
		{"option", "environment", "file", "option"},
	} {
		t.Setenv("GOOGLE_CLOUD_QUOTA_PROJECT", tt.env)
		user := authtest.With(g.auth.User(), map[string]any{"quota_project_id": tt.file})
		opts := []cloudsqlconn.Option{cloudsqlconn.WithCredentialsJSON(user)}
		if tt.option != "" {
			opts = append(opts, cloudsqlconn.WithQuotaProject(tt.option))
		}
		d := g.dialer(t, opts...)
		t.Setenv("GOOGLE_CLOUD_QUOTA_PROJECT", "too late")
		before := len(g.Requests())
		g.wantConn(t, d, "")
		requests := g.Requests()[before:]
		if len(requests) != 2 {
			t.Fatalf("%d Admin API calls", len(requests))
		}
		for _, r := range requests {
			if got := r.Header.Get("X-Goog-User-Project"); got != tt.want {
				t.Errorf("quota project %q, want %q", got, tt.want)
			}
		}
	}
}

// The endpoint, and that of impersonation, are in the universe; the JSON says
// that the key is too.
func TestUniverse(t *testing.T) {
	const universe = "elsewhere.example"
	g := newGoogle(t)
	key := authtest.With(g.auth.ServiceAccount(), map[string]any{"universe_domain": universe})
	t.Setenv("GOOGLE_CLOUD_UNIVERSE_DOMAIN", universe)
	hosts := make(chan string, 10)
	client := &http.Client{Transport: roundTrip(func(req *http.Request) (*http.Response, error) {
		hosts <- req.URL.Host
		if req.URL.Host == "sqladmin."+universe {
			req = req.Clone(req.Context())
			req.URL.Scheme, req.URL.Host = "http", strings.TrimPrefix(g.URL(), "http://")
		}
		return g.auth.Client(universe).Transport.RoundTrip(req)
	})}
	d, err := cloudsqlconn.NewDialer(context.Background(), cloudsqlconn.WithDialFunc(g.DialContext),
		cloudsqlconn.WithCredentialsJSON(key), cloudsqlconn.WithImpersonation(target), cloudsqlconn.WithHTTPClient(client))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	g.wantConn(t, d, "")
	close(hosts)
	count := map[string]int{}
	for h := range hosts {
		count[h]++
	}
	if count["sqladmin."+universe] != 2 || count["iamcredentials."+universe] != 1 {
		t.Errorf("requests: %v", count)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
