package admin_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
)

// The two calls, as their paths end.
const (
	connectSettings = "connectSettings"
	ephemeralCert   = "generateEphemeralCert"
)

const (
	apiToken   = "ya29.api-token-nobody-may-see"
	loginToken = "ya29.login-token-nobody-may-see"
)

var (
	instance = admin.Instance{Project: "my-project", Region: "us-central1", ID: "my-db"}

	clientKey = fixedKey() // the same in all processes that fuzz
	serverCA  = newCA("Google Cloud SQL Server CA")
	clientCA  = newCA("Google Cloud SQL Signing CA")
)

// answer answers a request, as an http.RoundTripper does.
type answer func(*http.Request) (*http.Response, error)

// api is the Admin API without a network: an http.RoundTripper for tests that
// run on fake time or script every answer. Where neither matters, cloudsqltest
// is the server.
type api struct {
	settings, cert answer // genuine, if nil

	mu       sync.Mutex // guards requests
	requests []request
}

type request struct {
	*http.Request
	at   time.Time
	body []byte
}

func (a *api) RoundTrip(r *http.Request) (*http.Response, error) {
	req := request{Request: r, at: time.Now()}
	if r.Body != nil {
		req.body, _ = io.ReadAll(r.Body)
		_ = r.Body.Close()
		r.Body = io.NopCloser(bytes.NewReader(req.body))
	}
	a.mu.Lock()
	a.requests = append(a.requests, req)
	a.mu.Unlock()
	respond := map[string]answer{connectSettings: a.settings, ephemeralCert: a.cert}[callOf(r)]
	if respond == nil {
		respond = genuine
	}
	return respond(r)
}

// callOf is the last part of a request's path.
func callOf(r *http.Request) string {
	return r.URL.Path[strings.LastIndexAny(r.URL.Path, "/:")+1:]
}

// received returns the requests of a call so far.
func (a *api) received(call string) []request {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(a.requests), func(r request) bool { return callOf(r.Request) != call })
}

func (a *api) wantCalls(t *testing.T, settings, cert int) {
	t.Helper()
	if s, c := len(a.received(connectSettings)), len(a.received(ephemeralCert)); s != settings || c != cert {
		t.Errorf("%d calls of connectSettings and %d of generateEphemeralCert, want %d and %d", s, c, settings, cert)
	}
}

// genuine is what the API says when nothing goes wrong.
func genuine(r *http.Request) (*http.Response, error) {
	if callOf(r) == connectSettings {
		return status(http.StatusOK, settingsJSON())(r)
	}
	return certificate(time.Hour)(r)
}

// certificate answers with a certificate for the key in the request.
func certificate(ttl time.Duration) answer {
	return func(r *http.Request) (*http.Response, error) {
		var req struct {
			PublicKey string `json:"public_key"`
		}
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
			return nil, err
		}
		block, _ := pem.Decode([]byte(req.PublicKey))
		if block == nil {
			return nil, fmt.Errorf("public_key is %q", req.PublicKey)
		}
		public, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, err
		}
		return status(http.StatusOK, certJSON(clientCert(public, ttl)))(r)
	}
}

// clientCert returns a client certificate in PEM.
func clientCert(public crypto.PublicKey, ttl time.Duration) string {
	return clientCA.sign(&x509.Certificate{
		Subject:     pkix.Name{CommonName: "Google Cloud SQL Client"},
		NotBefore:   time.Now().Add(-time.Minute),
		NotAfter:    time.Now().Add(ttl),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, public)
}

func certJSON(cert string) string {
	return encode(object{"ephemeralCert": object{"kind": "sql#sslCert", "cert": cert}})
}

type object = map[string]any

// settingsJSON is the answer to connectSettings, altered.
func settingsJSON(alter ...object) string {
	name := object{
		"name":           "42cfcd3545f4.2imj07zrx20yw.us-central1.sql.goog.",
		"connectionType": "PRIVATE_SERVICE_CONNECT",
		"dnsScope":       "INSTANCE",
		"recordManager":  "CUSTOMER",
	}
	settings := object{
		"kind":            "sql#connectSettings",
		"backendType":     "SECOND_GEN",
		"databaseVersion": "POSTGRES_16",
		"region":          "us-central1",
		"ipAddresses": []object{
			{"type": "PRIMARY", "ipAddress": "203.0.113.10"},
			{"type": "PRIVATE", "ipAddress": "10.1.2.3"},
			{"type": "OUTGOING", "ipAddress": "198.51.100.7"},
		},
		"pscEnabled":         true,
		"serverCaMode":       "GOOGLE_MANAGED_CAS_CA",
		"dnsName":            name["name"],
		"dnsNames":           []object{name},
		"mdxProtocolSupport": []string{"CLIENT_PROTOCOL_TYPE"},
		"serverCaCert":       object{"kind": "sql#sslCert", "cert": serverCA.pem, "expirationTime": "2034-01-01T00:00:00.000Z", "instance": "my-db"},
	}
	for _, a := range alter {
		maps.Copy(settings, a)
	}
	return encode(settings)
}

func encode(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// errorJSON is the API's error envelope.
func errorJSON(code int, message string) string {
	return encode(object{"error": object{"code": code, "message": message, "errors": []object{{"message": message, "domain": "global", "reason": "injected"}}}})
}

// status answers with a body, and with headers given as key, value.
func status(code int, body string, header ...string) answer {
	return func(r *http.Request) (*http.Response, error) {
		resp := &http.Response{
			StatusCode:    code,
			Header:        http.Header{"Content-Type": {"application/json; charset=UTF-8"}},
			Body:          io.NopCloser(strings.NewReader(body)),
			ContentLength: int64(len(body)),
			Request:       r,
		}
		for kv := range slices.Chunk(header, 2) {
			resp.Header.Set(kv[0], kv[1])
		}
		return resp, nil
	}
}

// refuse answers with the API's error envelope.
func refuse(code int, header ...string) answer {
	return status(code, errorJSON(code, http.StatusText(code)), header...)
}

// breaks answers with a transport error.
func breaks(err error) answer {
	return func(*http.Request) (*http.Response, error) { return nil, err }
}

// hangs never answers.
func hangs(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// after answers when some time has passed.
func after(d time.Duration, a answer) answer {
	return func(r *http.Request) (*http.Response, error) {
		select {
		case <-time.After(d):
			return a(r)
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
}

// inTurn answers each request in its own way, and all further ones as the last.
func inTurn(answers ...answer) answer {
	var mu sync.Mutex
	return func(r *http.Request) (*http.Response, error) {
		mu.Lock()
		a := answers[0]
		if len(answers) > 1 {
			answers = answers[1:]
		}
		mu.Unlock()
		return a(r)
	}
}

// newClient returns a client of the API rt.
func newClient(t testing.TB, rt http.RoundTripper, alter ...func(*admin.Config)) *admin.Client {
	t.Helper()
	cfg := admin.Config{
		Endpoint:   "https://sqladmin.test",
		HTTPClient: &http.Client{Transport: rt},
		UserAgent:  "my-agent/1.0",
		API:        static(&oauth2.Token{AccessToken: apiToken}),
		Login:      static(&oauth2.Token{AccessToken: loginToken}),
		Key:        func() (crypto.Signer, error) { return clientKey, nil },
	}
	for _, f := range alter {
		f(&cfg)
	}
	c, err := admin.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// tokenFunc is an oauth2.TokenSource.
type tokenFunc func() (*oauth2.Token, error)

func (f tokenFunc) Token() (*oauth2.Token, error) { return f() }

func static(tok *oauth2.Token) oauth2.TokenSource {
	return tokenFunc(func() (*oauth2.Token, error) { return tok, nil })
}

func withAPI(ts tokenFunc) func(*admin.Config) {
	return func(cfg *admin.Config) { cfg.API = ts }
}

func withLogin(ts tokenFunc) func(*admin.Config) {
	return func(cfg *admin.Config) { cfg.Login = ts }
}

// mustFetch returns what the API at rt says about the instance.
func mustFetch(t *testing.T, rt http.RoundTripper) *admin.Info {
	t.Helper()
	info, _, err := newClient(t, rt).Fetch(t.Context(), instance, false)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// fetchError returns the error of a Fetch that cannot succeed.
func fetchError(ctx context.Context, t *testing.T, c *admin.Client, iam bool) error {
	t.Helper()
	info, expiry, err := c.Fetch(ctx, instance, iam)
	if err == nil {
		t.Fatal("Fetch succeeded")
	}
	if info != nil || !expiry.IsZero() {
		t.Errorf("Fetch returned %v, %v beside an error", info, expiry)
	}
	wantDecent(t, err)
	return err
}

// wantDecent checks what holds for all errors: one line, of a bearable length,
// without secrets.
func wantDecent(t *testing.T, err error) {
	t.Helper()
	text := err.Error()
	if strings.ContainsAny(text, "\r\n") || len(text) > 2048 {
		t.Errorf("error of %d bytes is not one line of bearable length: %.200q", len(text), text)
	}
	for _, secret := range []string{apiToken, loginToken, "PRIVATE KEY"} {
		if strings.Contains(text, secret) {
			t.Errorf("error tells the secret %q: %s", secret, text)
		}
	}
}

func wantText(t *testing.T, err error, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("error is %q, want %q in it", err, text)
		}
	}
}

// authority is a certificate authority.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	pem  string
}

func newCA(name string) *authority {
	ca := &authority{key: newKey()}
	ca.cert = &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), // fake time starts in 2000
		NotAfter:              time.Date(2999, 1, 1, 0, 0, 0, 0, time.UTC),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	ca.pem = ca.sign(ca.cert, ca.key.Public())
	ca.cert = parse(ca.pem)
	return ca
}

// sign returns template as a certificate in PEM.
func (ca *authority) sign(template *x509.Certificate, public crypto.PublicKey) string {
	template.SerialNumber = big.NewInt(1)
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, public, ca.key)
	if err != nil {
		panic(err)
	}
	return block("CERTIFICATE", der)
}

func block(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func parse(text string) *x509.Certificate {
	b, _ := pem.Decode([]byte(text))
	c, err := x509.ParseCertificate(b.Bytes)
	if err != nil {
		panic(err)
	}
	return c
}

func fixedKey() *ecdsa.PrivateKey {
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), bytes.Repeat([]byte{7}, 32))
	if err != nil {
		panic(err)
	}
	return key
}

func newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}

// serverCert returns a certificate of the server CA for sqladmin.test.
func serverCert() tls.Certificate {
	key := newKey()
	leaf := parse(serverCA.sign(&x509.Certificate{
		DNSNames:    []string{"sqladmin.test"},
		NotBefore:   time.Now().Add(-time.Hour),
		NotAfter:    time.Now().Add(24 * time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, key.Public()))
	return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}
}
