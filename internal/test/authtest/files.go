package authtest

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

const (
	clientID     = "764086051850.apps.googleusercontent.com"
	clientSecret = "d-secret-of-the-client"
	refreshToken = "1//0refresh-token-of-the-user"
	subjectToken = "subject-token-of-the-workload"
	audience     = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/provider"
)

// Account is the e-mail of the service account that has a key.
const Account = "app@my-project.iam.gserviceaccount.com"

// accountKey is that key.
var accountKey = sync.OnceValue(func() *rsa.PrivateKey {
	return must(rsa.GenerateKey(rand.Reader, 2048))
})

// keyPEM is the key as a credentials file has it.
func keyPEM() string {
	der := must(x509.MarshalPKCS8PrivateKey(accountKey()))
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// Secrets are texts that nobody but the servers may see.
func Secrets() []string {
	lines := strings.Split(keyPEM(), "\n")
	return []string{clientSecret, refreshToken, subjectToken, CloudToken, lines[1]}
}

// With returns the content of a credentials file with other fields too. A nil
// value takes a field away.
func With(file []byte, more map[string]any) []byte {
	fields := map[string]any{}
	if err := json.Unmarshal(file, &fields); err != nil {
		panic(err)
	}
	for name, value := range more {
		fields[name] = value
		if value == nil {
			delete(fields, name)
		}
	}
	return must(json.Marshal(fields))
}

// ServiceAccount is the key of Account.
func (s *Server) ServiceAccount() []byte {
	return must(json.Marshal(map[string]any{
		"type":           "service_account",
		"project_id":     "my-project",
		"private_key_id": "1",
		"client_email":   Account,
		"client_id":      "115500000000000000000",
		"private_key":    keyPEM(),
		"token_uri":      s.URL + "/token",
	}))
}

// User is the login of a user.
func (s *Server) User() []byte {
	return must(json.Marshal(map[string]any{
		"type":          "authorized_user",
		"client_id":     clientID,
		"client_secret": clientSecret,
		"refresh_token": refreshToken,
		"token_uri":     s.URL + "/token",
	}))
}

// Workforce is the login of a user of a workforce pool.
func (s *Server) Workforce() []byte {
	return must(json.Marshal(map[string]any{
		"type":          "external_account_authorized_user",
		"audience":      "//iam.googleapis.com/locations/global/workforcePools/pool/providers/provider",
		"client_id":     clientID,
		"client_secret": clientSecret,
		"refresh_token": refreshToken,
		"token_url":     s.URL + "/v1/oauthtoken",
	}))
}

// ExternalAccount is a workload identity; its subject token is in a file that
// is made in dir, or with "" comes from a URL.
func (s *Server) ExternalAccount(dir string) []byte {
	source := map[string]any{"url": s.URL + "/subject-token"}
	if dir != "" {
		name := filepath.Join(dir, "subject-token")
		if err := os.WriteFile(name, []byte(subjectToken), 0o600); err != nil {
			panic(err)
		}
		source = map[string]any{"file": name}
	}
	return must(json.Marshal(map[string]any{
		"type":               "external_account",
		"audience":           audience,
		"subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
		"token_url":          s.URL + "/sts",
		"credential_source":  source,
	}))
}

// ImpersonationURL is where account is impersonated.
func (s *Server) ImpersonationURL(account string) string {
	return s.URL + "/v1/projects/-/serviceAccounts/" + account + ":generateAccessToken"
}

// Impersonated is account, impersonated by the credentials in source.
func (s *Server) Impersonated(account string, source []byte, delegates ...string) []byte {
	return must(json.Marshal(map[string]any{
		"type":                              "impersonated_service_account",
		"service_account_impersonation_url": s.ImpersonationURL(account),
		"delegates":                         delegates,
		"source_credentials":                json.RawMessage(source),
	}))
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
