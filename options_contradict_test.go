package cloudsqlconn_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn"
)

// nameless is a Resolver.
type nameless struct{}

func (nameless) Resolve(context.Context, string) (cloudsqlconn.Resolution, error) {
	return cloudsqlconn.Resolution{}, nil
}

// Options that contradict each other are refused, and both are named. One that has no
// effect beside another is not refused, if a Dial can be given what makes it have one.
func TestOptionsThatContradictEachOther(t *testing.T) {
	t.Setenv("all_proxy", "socks5://127.0.0.1:1080")
	source := oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "t"})
	file, one := cloudsqlconn.WithCredentialsFile("key.json"), cloudsqlconn.WithTokenSource(source)
	two, other := cloudsqlconn.WithIAMAuthNTokenSources(source, source), cloudsqlconn.WithImpersonation("sa@example.com")
	client, iam := cloudsqlconn.WithHTTPClient(http.DefaultClient), cloudsqlconn.WithIAMAuthN(true)
	dns, unlisted := cloudsqlconn.WithDNSResolver(net.DefaultResolver), cloudsqlconn.WithUnlistedDomain(true)
	service, never := cloudsqlconn.WithSQLDataEndpoint("host"), cloudsqlconn.WithSQLData(cloudsqlconn.SQLDataNever)
	prefer, only := cloudsqlconn.WithSQLData(cloudsqlconn.SQLDataPrefer), cloudsqlconn.WithSQLData(cloudsqlconn.SQLDataOnly)
	type options = []cloudsqlconn.Option
	for _, tt := range []struct {
		opts options
		want []string // nil: fine
	}{
		{options{file, one}, []string{"WithCredentialsFile and WithTokenSource: want one of them"}},
		{options{one, two}, []string{"WithTokenSource and WithIAMAuthNTokenSources: want one of them"}},
		{options{two, other}, []string{"WithIAMAuthNTokenSources and WithImpersonation: want one of them"}},
		{options{one, iam}, []string{"WithIAMAuthN with WithTokenSource"}},
		{options{client, iam}, []string{"WithIAMAuthN with WithHTTPClient"}},
		{options{client, prefer}, []string{"WithSQLData with WithHTTPClient"}},
		{options{client, only, iam}, []string{"WithSQLData with WithHTTPClient"}},
		{options{dns, cloudsqlconn.WithResolver(nameless{})}, []string{"WithResolver and WithDNSResolver: want one of them"}},
		{options{unlisted}, []string{"WithUnlistedDomain", "WithDNSResolver"}},
		{options{cloudsqlconn.WithProxy("socks5://proxy"), cloudsqlconn.WithProxyFromEnvironment()}, []string{"WithProxy and WithProxyFromEnvironment: want one of them"}},
		{options{cloudsqlconn.WithUniverseDomain("x.example"), cloudsqlconn.WithAdminAPIEndpoint("https://sqladmin.googleapis.com")}, []string{"WithAdminAPIEndpoint and WithUniverseDomain", "want one of them"}},

		{opts: options{one, other, iam}},
		{opts: options{client, one, prefer}},
		{opts: options{client, other, only}},
		{opts: options{client, never, service}},
		{opts: options{unlisted, dns}},
		{opts: options{unlisted, cloudsqlconn.WithResolver(nameless{})}},
		{opts: options{cloudsqlconn.WithUnlistedDomain(false)}},
		{opts: options{service}},                                  // Dials that want it say so
		{opts: options{only, cloudsqlconn.WithPublicIP()}},        // and those that do not
		{opts: options{cloudsqlconn.WithLoginAfterRefresh(true)}}, // and those with IAM login
	} {
		d, err := cloudsqlconn.NewDialer(t.Context(), tt.opts...)
		if err == nil {
			_ = d.Close()
		}
		if errors.Is(err, cloudsqlconn.ErrConfig) != (tt.want != nil) {
			t.Errorf("got %v, want an error that tells %q", err, tt.want)
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q does not tell %q", err, want)
			}
		}
	}
}
