// Package authtest emulates, on loopback, the servers that Google credentials
// get tokens from: the OAuth 2.0 token endpoint, the Security Token Service,
// the IAM Credentials API, the metadata server, and one for subject tokens.
// They give a token only to who sends the right secrets, and remember who asked
// for which scopes. They know nothing of package auth.
package authtest

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// The scopes that the tests are about.
const (
	AdminScope = "https://www.googleapis.com/auth/sqlservice.admin"
	LoginScope = "https://www.googleapis.com/auth/sqlservice.login"
	CloudScope = "https://www.googleapis.com/auth/cloud-platform"
)

// CloudToken is the token of the scope cloud-platform.
const CloudToken = "cloud-platform-token"

// Call is a request for a token that was answered with one.
type Call struct {
	Who       string // what proved the identity, and which one it is
	Scope     string // that was asked for, without the common beginning; "" if none
	Delegates string // of an impersonation
}

// Failure is the answer to a request that is to fail.
type Failure struct {
	Code   int
	Header http.Header
	Body   string // if empty, a refusal in the form of the server, which echoes the request, secrets and all
}

// GKE makes the metadata server refuse tokens as GKE's does: it passes IAM's
// refusal on as plain text. The code is 403, without a binding of the Kubernetes
// account to the service account, or 404, without such a service account. It is
// for Fail.
func GKE(code int) func(*http.Request) *Failure {
	text := "Unable to generate access token; IAM returned 404 Not Found: Not found; Gaia id not found for email " + Account + "\n"
	if code == http.StatusForbidden {
		text = "Unable to generate access token; IAM returned 403 Forbidden: Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist).\n" +
			"This error could be caused by a missing IAM policy binding on the target IAM service account.\n" +
			"For more information, refer to the Workload Identity documentation:\n" +
			"\thttps://cloud.google.com/kubernetes-engine/docs/how-to/workload-identity#authenticating_to\n\n"
	}
	return func(r *http.Request) *Failure {
		if r.URL.Path != metadataToken {
			return nil
		}
		return &Failure{code, http.Header{"Content-Type": {"text/plain; charset=utf-8"}, "Metadata-Flavor": {"Google"}}, text}
	}
}

const metadataToken = "/computeMetadata/v1/instance/service-accounts/default/token"

// Server is the servers. Its fields may be changed before the first request.
type Server struct {
	*httptest.Server

	Tokens   map[string]string            // by scope; "" for a request without one
	Life     time.Duration                // of tokens; default: an hour
	Universe string                       // what the metadata server says; "": nothing
	Fail     func(*http.Request) *Failure // nil: never; or returns nil

	mu    sync.Mutex // guards everything below
	calls []Call
	asked int
}

// NewServer starts the servers. They give these tokens for Admin API calls,
// and for any other use by users who ask for no scope; and for IAM login.
func NewServer(admin, login string) *Server {
	s := &Server{
		Tokens: map[string]string{"": admin, AdminScope: admin, LoginScope: login, CloudScope: CloudToken},
		Life:   time.Hour,
	}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	return s
}

// Calls returns the requests so far that got a token.
func (s *Server) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// Asked returns how many requests there were, of every kind.
func (s *Server) Asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// Client returns a client that reaches the servers where the real ones are, at
// https://*.googleapis.com or under another of these domains.
func (s *Server) Client(domains ...string) *http.Client {
	return &http.Client{Transport: redirect{s, append(domains, "googleapis.com")}}
}

type redirect struct {
	s       *Server
	domains []string
}

// RoundTrip sends what is for Google to the server.
func (t redirect) RoundTrip(req *http.Request) (*http.Response, error) {
	for _, d := range t.domains {
		if strings.HasSuffix(req.URL.Host, "."+d) {
			req = req.Clone(req.Context())
			req.URL.Scheme, req.URL.Host = "http", t.s.Listener.Addr().String()
		}
	}
	return t.s.Server.Client().Transport.RoundTrip(req)
}

// InProcess returns a client that calls the servers without a network, so that
// it can be used on fake time.
func (s *Server) InProcess() *http.Client { return &http.Client{Transport: inProcess{s}} }

type inProcess struct{ s *Server }

// RoundTrip lets the server answer.
func (t inProcess) RoundTrip(req *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	if req.Body == nil {
		req = req.Clone(req.Context())
		req.Body = http.NoBody
	}
	t.s.serve(w, req)
	return w.Result(), nil
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked++
	s.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	if s.Fail != nil {
		r.Form, _ = url.ParseQuery(string(body))
		if f := s.Fail(r); f != nil {
			for k, v := range f.Header {
				w.Header()[k] = v
			}
			w.WriteHeader(f.Code)
			if f.Body == "" {
				f.Body = refusal(r, f.Code, body)
			}
			_, _ = io.WriteString(w, f.Body)
			return
		}
	}
	form, _ := url.ParseQuery(string(body))
	switch path := r.URL.Path; {
	case path == "/token" && form.Get("grant_type") == "refresh_token":
		s.refresh(w, form)
	case path == "/token":
		s.assertion(w, form.Get("assertion"))
	case path == "/v1/oauthtoken":
		s.workforce(w, r, form)
	case path == "/sts" || path == "/v1/token":
		s.exchange(w, form)
	case strings.HasSuffix(path, ":generateAccessToken"):
		s.impersonate(w, r, body)
	case path == "/subject-token":
		_, _ = io.WriteString(w, subjectToken)
	case path == "/computeMetadata/v1/universe/universe-domain" && s.Universe != "":
		_, _ = io.WriteString(w, s.Universe)
	case path == metadataToken && r.Header.Get("Metadata-Flavor") == "Google":
		s.give(w, Call{Who: "metadata", Scope: r.URL.Query().Get("scopes")})
	case path == "/computeMetadata/v1/instance/service-accounts/default/email":
		_, _ = io.WriteString(w, Account)
	default:
		http.NotFound(w, r)
	}
}

// refusal is what the servers say when they refuse, in the form of each. They echo
// what they were sent.
func refusal(r *http.Request, code int, body []byte) string {
	unescaped, _ := url.QueryUnescape(string(body))
	echo := fmt.Sprintf("%s %s %s", r.Header.Get("Authorization"), body, unescaped)
	switch {
	case strings.HasSuffix(r.URL.Path, ":generateAccessToken"):
		return string(must(json.Marshal(map[string]any{"error": map[string]any{"code": code, "message": echo}})))
	case r.URL.Path == "/token", r.URL.Path == "/v1/oauthtoken", r.URL.Path == "/sts", r.URL.Path == "/v1/token":
		return string(must(json.Marshal(map[string]any{"error": "refused", "error_description": echo})))
	}
	return echo
}

func (s *Server) refresh(w http.ResponseWriter, form url.Values) {
	if form.Get("refresh_token") != refreshToken || form.Get("client_id") != clientID || form.Get("client_secret") != clientSecret {
		refuse(w, http.StatusBadRequest, `{"error":"invalid_grant","error_description":"Bad Request"}`)
		return
	}
	s.give(w, Call{Who: "user", Scope: form.Get("scope")})
}

// workforce is the token endpoint of workforce pools, which takes the client's
// secret as a password only.
func (s *Server) workforce(w http.ResponseWriter, r *http.Request, form url.Values) {
	id, secret, _ := r.BasicAuth()
	if form.Get("refresh_token") != refreshToken || id != clientID || secret != clientSecret {
		refuse(w, http.StatusBadRequest, `{"error":"invalid_grant","error_description":"Bad Request"}`)
		return
	}
	s.give(w, Call{Who: "workforce user", Scope: form.Get("scope")})
}

func (s *Server) assertion(w http.ResponseWriter, jwt string) {
	c, ok := signedByAccount(jwt)
	// google-auth for Python means the real one, wherever it sends the claims.
	if !ok || c.Aud != s.URL+"/token" && c.Aud != "https://oauth2.googleapis.com/token" {
		refuse(w, http.StatusBadRequest, `{"error":"invalid_grant","error_description":"Invalid JWT Signature."}`)
		return
	}
	s.give(w, Call{Who: "key of " + c.Iss, Scope: c.Scope})
}

type claims struct{ Iss, Aud, Scope string }

// signedByAccount returns what a JWT claims, if Account has signed it.
func signedByAccount(jwt string) (c claims, ok bool) {
	dot := strings.LastIndex(jwt, ".")
	if dot < 0 {
		return c, false
	}
	signature, err1 := base64.RawURLEncoding.DecodeString(jwt[dot+1:])
	_, payload, _ := strings.Cut(jwt[:dot], ".")
	text, err2 := base64.RawURLEncoding.DecodeString(payload)
	sum := sha256.Sum256([]byte(jwt[:dot]))
	ok = err1 == nil && err2 == nil && json.Unmarshal(text, &c) == nil && c.Iss == Account &&
		rsa.VerifyPKCS1v15(&accountKey().PublicKey, crypto.SHA256, sum[:], signature) == nil
	return c, ok
}

// SelfSignedScope returns the scope of a token that Account has signed itself,
// as it does outside the public cloud; "" if it has not.
func SelfSignedScope(token string) string {
	c, ok := signedByAccount(token)
	if !ok || c.Aud != "" {
		return ""
	}
	return c.Scope
}

func (s *Server) exchange(w http.ResponseWriter, form url.Values) {
	if _, secret, ok := strings.Cut(form.Get("subject_token"), subjectToken); !ok || secret != "" || form.Get("audience") != audience {
		refuse(w, http.StatusUnauthorized, `{"error":"invalid_client","error_description":"The audience or the token is wrong."}`)
		return
	}
	s.give(w, Call{Who: "external", Scope: form.Get("scope")})
}

// impersonate lets whoever has a token of the scope cloud-platform be anybody.
func (s *Server) impersonate(w http.ResponseWriter, r *http.Request, body []byte) {
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if token != CloudToken && token != s.Tokens[""] && SelfSignedScope(token) != CloudScope {
		refuse(w, http.StatusForbidden, `{"error":{"code":403,"message":"Permission 'iam.serviceAccounts.getAccessToken' denied.","status":"PERMISSION_DENIED"}}`)
		return
	}
	var req struct{ Scope, Delegates []string }
	_ = json.Unmarshal(body, &req)
	_, call, _ := strings.Cut(r.URL.Path, "/v1/projects/-/serviceAccounts/")
	who := "impersonated " + strings.TrimSuffix(call, ":generateAccessToken")
	if p := r.Header.Get("X-Goog-User-Project"); p != "" {
		who += ", counted for " + p
	}
	tok := s.record(Call{Who: who, Scope: strings.Join(req.Scope, " "), Delegates: strings.Join(req.Delegates, " ")})
	reply(w, map[string]any{"accessToken": tok, "expireTime": time.Now().Add(s.Life).Format(time.RFC3339)})
}

func (s *Server) give(w http.ResponseWriter, c Call) {
	tok := s.record(c)
	reply(w, map[string]any{"access_token": tok, "token_type": "Bearer", "expires_in": int(s.Life / time.Second)})
}

// record returns the token that a call asks for.
func (s *Server) record(c Call) string {
	tok, ok := s.Tokens[c.Scope]
	if !ok {
		tok = "token of the scopes " + c.Scope
	}
	c.Scope = strings.ReplaceAll(c.Scope, "https://www.googleapis.com/auth/", "")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, c)
	return tok
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func refuse(w http.ResponseWriter, code int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, body)
}
