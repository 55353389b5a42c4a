package auth_test

import (
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn/internal/auth"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/authtest"
)

func TestTheAccountIsKnownOnceTheCredentialsWereLookedUp(t *testing.T) {
	t.Parallel()
	s := authtest.NewServer("admin", "login")
	defer s.Close()
	for name, tt := range map[string]struct {
		json []byte
		want string
	}{
		"service account": {s.ServiceAccount(), authtest.Account},
		"impersonated":    {s.Impersonated("db@example.com", s.User()), "db@example.com"},
		"user":            {s.User(), ""},
	} {
		creds := auth.New(auth.Config{JSON: tt.json, HTTPClient: s.InProcess()})
		if got := creds.KnownEmail(); got != "" {
			t.Errorf("%s: %q is known before anything was looked up", name, got)
		}
		if _, err := creds.Admin().Token(); err != nil {
			t.Fatal(err)
		}
		if got := creds.KnownEmail(); got != tt.want {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
	if got := (*auth.Credentials)(nil).KnownEmail(); got != "" {
		t.Errorf("without credentials %q is known", got)
	}
}
