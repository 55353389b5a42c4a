package auth_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn/internal/auth"
)

// Whatever a file contains: no panic, and none of it in the error,
// but for a type in lower case.
func FuzzCredentialsFile(f *testing.F) {
	for _, seed := range []string{
		``, `null`, `[]`, `{"type":"service_account","client_email":"e","private_key":"k"}`,
		`{"type":"authorized_user","client_id":"i","client_secret":"s","refresh_token":"r"}`,
		`{"type":"external_account","audience":"a","subject_token_type":"t","credential_source":{"url":"http://127.0.0.1:1"}}`,
		`{"type":"external_account","audience":"a","subject_token_type":"t","credential_source":{"environment_id":"aws1"}}`,
		`{"type":"external_account_authorized_user","client_id":"i","client_secret":"s","refresh_token":"r","token_url":"u"}`,
		`{"type":"impersonated_service_account","service_account_impersonation_url":"http://h/v1/projects/-/serviceAccounts/e:generateAccessToken","source_credentials":{"type":"authorized_user"}}`,
		`{"type":"service_account","installed":{"redirect_uris":["x"]}}`, `{"type":"ZZZZsecret"}`, `ZZZZsecret`, `{"delegates":"ZZZZsecret"}`,
	} {
		f.Add([]byte(seed))
	}
	nowhere := &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) { return nil, errors.New("no network") })}
	f.Fuzz(func(t *testing.T, content []byte) {
		err := auth.CheckJSON(content)
		if err != nil {
			if strings.Contains(err.Error(), "ZZZZ") {
				t.Errorf("%q is shown", content)
			}
			return
		}
		if strings.Contains(string(content), "file") || strings.Contains(string(content), "executable") {
			return // it would be read, or run
		}
		if tok, err := auth.New(auth.Config{JSON: content, HTTPClient: nowhere}).Login().Token(); err == nil {
			t.Errorf("got %v without a network", tok)
		}
	})
}
