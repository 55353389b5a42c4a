package auth_test

import (
	"errors"
	"testing"

	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn/internal/auth"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/authtest"
)

func TestDescriptionsNameTheKindAndTheAccount(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	own := oauth2.StaticTokenSource(&oauth2.Token{AccessToken: authtest.CloudToken})
	for name, tt := range map[string]struct {
		cfg  auth.Config
		want auth.Description
	}{
		"key":               {auth.Config{JSON: s.ServiceAccount()}, auth.Description{Kind: "service_account", Email: authtest.Account}},
		"user":              {auth.Config{JSON: s.User()}, auth.Description{Kind: "authorized_user"}},
		"workload":          {auth.Config{JSON: s.ExternalAccount("")}, auth.Description{Kind: "external_account"}},
		"impersonated file": {auth.Config{JSON: s.Impersonated(target, s.User())}, auth.Description{Kind: "impersonated_service_account", Email: target}},
		"impersonation":     {auth.Config{JSON: s.User(), Target: target}, auth.Description{Kind: "authorized_user, impersonating", Email: target}},
		"own source":        {auth.Config{Base: own, Target: target}, auth.Description{Kind: "the program's own token source, impersonating", Email: target}},
	} {
		if got, err := auth.New(tt.cfg).Describe(t.Context()); got != tt.want || err != nil {
			t.Errorf("%s: got %+v, %v, want %+v", name, got, err, tt.want)
		}
	}
	if n := s.Asked(); n != 0 {
		t.Errorf("%d requests", n)
	}
	var none *auth.NotFoundError
	if got, err := auth.New(auth.Config{File: "/no/such/file"}).Describe(t.Context()); !errors.As(err, &none) {
		t.Errorf("got %+v, %v", got, err)
	}
}

// Environment variables: not parallel.
func TestDescriptionOfTheMetadataServer(t *testing.T) {
	s := newServer(t)
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
	t.Setenv("CLOUDSDK_CONFIG", t.TempDir())
	t.Setenv("NO_GCE_CHECK", "")
	t.Setenv("GCE_METADATA_HOST", s.Listener.Addr().String())
	if got, err := auth.New(auth.Config{}).Describe(t.Context()); got.Kind != "metadata server" || err != nil {
		t.Errorf("got %+v, %v", got, err)
	}
}
