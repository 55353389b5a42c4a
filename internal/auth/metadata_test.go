package auth_test

import (
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"

	"cloud.google.com/go/compute/metadata"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/auth"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/authtest"
)

// onMachine returns the credentials of a machine whose metadata server answers
// every request for a token like this.
func onMachine(t *testing.T, code int, body string) *auth.Credentials {
	t.Helper()
	s := newServer(t)
	home := t.TempDir()
	for name, value := range map[string]string{
		"GOOGLE_APPLICATION_CREDENTIALS": "", "CLOUDSDK_CONFIG": "", "HOME": home, "APPDATA": home,
		"NO_GCE_CHECK": "", "GCE_METADATA_HOST": s.Listener.Addr().String(),
	} {
		t.Setenv(name, value)
	}
	s.Fail = func(r *http.Request) *authtest.Failure {
		if !strings.HasSuffix(r.URL.Path, "/token") {
			return nil
		}
		return &authtest.Failure{Code: code, Header: http.Header{"Metadata-Flavor": {"Google"}}, Body: body}
	}
	creds := auth.New(auth.Config{})
	t.Cleanup(creds.Close)
	return creds
}

func TestWhatTheMetadataServerSaysIsTold(t *testing.T) {
	for _, tt := range []struct {
		name     string
		code     int
		body     string
		stranger bool
		terminal bool
		want     string
	}{
		{"IAM's refusal", 403, "Unable to generate access token; IAM returned 403 Forbidden: no\nmore\n", false, true, "IAM returned 403 Forbidden: no\nmore"},
		{"IAM's, of an account that is missing", 404, "Unable to generate access token; IAM returned 404 Not Found: no", false, true, "IAM returned 404"},
		{"a text of its own", 403, "scope not allowed", false, true, `403 Forbidden, with the text "scope not allowed"`},
		{"a filter's page", 403, "<html><title>Blocked</title></html>", true, false, `403 Forbidden, with a web page "Blocked"`},
		{"busy", 429, "slow down", false, false, "429 Too Many Requests"},
	} {
		_, err := onMachine(t, tt.code, tt.body).Admin().Token()
		refused, ok := errors.AsType[*auth.RefusedError](err)
		if !ok || refused.Step != auth.Metadata || refused.Code != tt.code || refused.Host == "" || refused.Stranger != tt.stranger || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %s", tt.name, err, tt.want)
		}
		if admin.Terminal(err) != tt.terminal {
			t.Errorf("%s: terminal %v", tt.name, admin.Terminal(err))
		}
	}
}

func TestAMachineWithoutAServiceAccount(t *testing.T) {
	for _, body := range []string{"404 page not found", "<!DOCTYPE html><title>Error 404</title>"} {
		_, err := onMachine(t, 404, body).Admin().Token()
		if _, ok := errors.AsType[metadata.NotDefinedError](err); !ok || !admin.Terminal(err) {
			t.Errorf("got %v", err)
		}
	}
}

// The variable is named, since whoever has set it may not remember: a Dial tries for
// as long as it may, in case the server is about to start.
func TestAnEnvironmentsMetadataServerThatDoesNotAnswerIsNamed(t *testing.T) {
	creds := onMachine(t, 200, "")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GCE_METADATA_HOST", l.Addr().String())
	_ = l.Close()
	_, err = creds.Admin().Token()
	if _, ok := errors.AsType[*auth.MetadataHostError](err); !ok || !strings.Contains(err.Error(), "GCE_METADATA_HOST") || admin.Terminal(err) {
		t.Errorf("got %v", err)
	}
}
