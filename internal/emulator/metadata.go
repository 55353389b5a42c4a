package emulator

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
)

// tokenLife is how long the metadata server's tokens last, as far as they tell.
const tokenLife = time.Hour

// Scopes of tokens.
const (
	scopePrefix   = "https://www.googleapis.com/auth/"
	cloudPlatform = scopePrefix + "cloud-platform"
	loginScope    = scopePrefix + "sqlservice.login"
)

// machine is a metadata server: what a program on Google Cloud asks who it is,
// and for tokens. Source: https://cloud.google.com/compute/docs/metadata.
type machine struct {
	email, project, region string
	token, login           string
	key                    func() *rsa.PrivateKey // signs identities
}

// newMachine returns the machine that belongs to an instance.
func (e *emulator) newMachine(i *running) *machine {
	name, _ := cloudsqlconn.ParseName(i.Name()) // was added
	return &machine{email: e.cfg.self(), project: name.Project(), region: name.Region(), token: e.api.Token(), login: e.api.LoginToken(), key: machineKey}
}

// machineKey is one for the whole process: making one takes a while.
var machineKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err) // crypto/rand never fails
	}
	return key
})

// number is that of the project.
func (m *machine) number() string {
	return fmt.Sprint(100_000_000_000 + int64(crc32.ChecksumIEEE([]byte(m.project))))
}

// values are what can be asked for, below /computeMetadata/v1/, but for tokens.
func (m *machine) values() map[string]string {
	values := map[string]string{
		"project/project-id":         m.project,
		"project/numeric-project-id": m.number(),
		"universe/universe-domain":   "googleapis.com",
		"instance/id":                "1234567890123456789",
		"instance/zone":              "projects/" + m.number() + "/zones/" + m.region + "-a",
		"instance/region":            "projects/" + m.number() + "/regions/" + m.region,
		"instance/service-accounts/": "default/\n" + m.email + "/\n",
	}
	for _, account := range []string{"default", m.email} {
		path := "instance/service-accounts/" + account + "/"
		values[path] = "aliases\nemail\nidentity\nscopes\ntoken\n"
		values[path+"aliases"] = "default\n"
		values[path+"email"] = m.email
		values[path+"scopes"] = cloudPlatform + "\n"
	}
	return values
}

// account is how a service account is told in one go.
func (m *machine) account() map[string]any {
	return map[string]any{"aliases": []string{"default"}, "email": m.email, "scopes": []string{cloudPlatform}}
}

// serve answers one request below /computeMetadata/v1/.
func (m *machine) serve(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Metadata-Flavor", "Google")
	header.Set("Server", "Metadata Server for VM")
	if r.Header.Get("Metadata-Flavor") != "Google" || r.Header.Get("X-Forwarded-For") != "" {
		http.Error(w, "Forbidden: the header Metadata-Flavor: Google is missing, or the request was forwarded", http.StatusForbidden)
		return
	}
	path := r.PathValue("path")
	recursive := r.URL.Query().Get("recursive") == "true"
	rest, ofAccounts := strings.CutPrefix(path, "instance/service-accounts/")
	who, what, _ := strings.Cut(rest, "/")
	mine := ofAccounts && (who == "default" || who == m.email)
	switch {
	case ofAccounts && rest == "" && recursive:
		m.json(w, map[string]any{"default": m.account(), m.email: m.account()})
	case mine && what == "" && recursive:
		m.json(w, m.account())
	case mine && what == "token":
		m.json(w, map[string]any{"access_token": m.tokenFor(r.URL.Query().Get("scopes")), "expires_in": int(tokenLife.Seconds()), "token_type": "Bearer"})
	case mine && what == "identity":
		m.serveIdentity(w, r.URL.Query().Get("audience"))
	default:
		value, ok := m.values()[path]
		if !ok {
			http.Error(w, "Not Found", http.StatusNotFound)
			return
		}
		header.Set("Content-Type", "application/text")
		_, _ = io.WriteString(w, value)
	}
}

// json answers as the metadata server does.
func (m *machine) json(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// tokenFor returns the token for IAM login if nothing else is asked for.
func (m *machine) tokenFor(scopes string) string {
	if scopes == loginScope {
		return m.login
	}
	return m.token
}

// serveIdentity answers with a token that says who the machine is. Its form is
// Google's, its signature is not.
func (m *machine) serveIdentity(w http.ResponseWriter, audience string) {
	if audience == "" {
		http.Error(w, "non-empty audience parameter required", http.StatusBadRequest)
		return
	}
	now := time.Now()
	claims := map[string]any{"aud": audience, "azp": m.number(), "sub": m.number(), "email": m.email, "email_verified": true,
		"iss": "https://accounts.google.com", "iat": now.Unix(), "exp": now.Add(tokenLife).Unix()}
	var parts []string
	for _, part := range []any{map[string]string{"alg": "RS256", "kid": "emulator", "typ": "JWT"}, claims} {
		text, _ := json.Marshal(part) // texts and numbers
		parts = append(parts, base64.RawURLEncoding.EncodeToString(text))
	}
	text := strings.Join(parts, ".")
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, m.key(), crypto.SHA256, sum[:])
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/text")
	_, _ = io.WriteString(w, text+"."+base64.RawURLEncoding.EncodeToString(signature))
}

// serveMetadata is the metadata server of a machine in the project of the first
// instance.
func (e *emulator) serveMetadata(w http.ResponseWriter, r *http.Request) {
	all := e.all()
	if len(all) == 0 {
		replyError(w, http.StatusNotFound, errors.New("there is no instance, and so no project"))
		return
	}
	e.newMachine(all[0]).serve(w, r)
}

// flavoured answers those who look for a metadata server as one does, wherever
// they look.
func flavoured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Metadata-Flavor") == "Google" {
			w.Header().Set("Metadata-Flavor", "Google")
		}
		next.ServeHTTP(w, r)
	})
}
