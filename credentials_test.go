package cloudsqlconn_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// tokenEndpoint is the part of an OAuth 2.0 server that service accounts need.
// It gives the kit's tokens, each for its one scope.
type tokenEndpoint struct {
	tokens map[string]string // by scope

	mu     sync.Mutex // guards everything below
	scopes []string   // that were asked for
}

func (e *tokenEndpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(r.FormValue("assertion"), ".")
	if len(parts) != 3 {
		http.Error(w, "no assertion", http.StatusBadRequest)
		return
	}
	var claims struct {
		Scope string `json:"scope"`
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(payload, &claims) != nil {
		http.Error(w, "bad assertion", http.StatusBadRequest)
		return
	}
	e.mu.Lock()
	e.scopes = append(e.scopes, claims.Scope)
	e.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": e.tokens[claims.Scope], "token_type": "Bearer", "expires_in": 3600})
}

// serviceAccountFile makes credentials whose token endpoint is url.
func serviceAccountFile(t *testing.T, url string) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]string{
		"type":         "service_account",
		"client_email": "app@my-project.iam.gserviceaccount.com",
		"private_key":  string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"token_uri":    url,
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "credentials.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestApplicationDefaultCredentials(t *testing.T) {
	const (
		adminScope = "https://www.googleapis.com/auth/sqlservice.admin"
		loginScope = "https://www.googleapis.com/auth/sqlservice.login"
	)
	s := cloudsqltest.NewServer()
	defer s.Close()
	s.AddInstance(testInstance, cloudsqltest.Instance{})
	endpoint := &tokenEndpoint{tokens: map[string]string{adminScope: s.Token(), loginScope: s.LoginToken()}}
	oauth := httptest.NewServer(endpoint)
	defer oauth.Close()
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", serviceAccountFile(t, oauth.URL))

	d, err := cloudsqlconn.NewDialer(context.Background(),
		cloudsqlconn.WithAdminAPIEndpoint(s.URL()), cloudsqlconn.WithDialFunc(s.DialContext))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, iam := range []bool{false, true} {
		c, err := d.Dial(t.Context(), testInstance, cloudsqlconn.WithDialIAMAuthN(iam))
		if err != nil {
			t.Fatal(err)
		}
		if err := echo(c); err != nil {
			t.Error(err)
		}
		_ = c.Close()
	}
	// One token of each kind, and each with one scope only.
	if got := strings.Join(endpoint.scopes, " "); got != adminScope+" "+loginScope {
		t.Errorf("tokens were asked for with the scopes %q", got)
	}
}
