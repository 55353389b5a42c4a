package cloudsqltest

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"

	"google.golang.org/api/sqladmin/v1beta4"
)

// The calls of the Admin API, as [Request] names them.
const (
	ConnectSettings       = "connectSettings"
	GenerateEphemeralCert = "generateEphemeralCert"
)

// maxBody bounds what a request may send.
const maxBody = 1 << 20

// route matches the paths of both calls, in both versions of the API. A colon
// in a domain-scoped project can be escaped; URL.Path is not.
var route = regexp.MustCompile(`^/sql/v1(?:beta4)?/projects/([^/]+)/instances/([^/:]+)(?:/(connectSettings)|:(generateEphemeralCert))$`)

// Request is an Admin API request that the server has received.
type Request struct {
	Time     time.Time
	Method   string
	Path     string
	Call     string // ConnectSettings, GenerateEphemeralCert, or "" if unknown
	Instance string // project:instance
	Header   http.Header
	Body     []byte
	Fault    *Fault // what OnRequest made of it, or nil
}

// serveAPI answers Admin API requests.
func (s *Server) serveAPI(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return // the client has gone, or sends nonsense
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	req := Request{Time: time.Now(), Method: r.Method, Path: r.URL.Path, Header: r.Header.Clone(), Body: body}
	if m := route.FindStringSubmatch(r.URL.Path); m != nil {
		req.Instance, req.Call = m[1]+":"+m[2], m[3]+m[4]
	}
	if s.OnRequest != nil {
		req.Fault = s.OnRequest(r)
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	s.mu.Lock()
	s.requests = append(s.requests, req)
	s.mu.Unlock()

	genuine := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { s.answer(w, &req) })
	if req.Fault == nil {
		genuine.ServeHTTP(w, r)
		return
	}
	req.Fault.apply(w, r, genuine, s.closing)
}

// answer is what the API says when nothing goes wrong.
func (s *Server) answer(w http.ResponseWriter, req *Request) {
	if req.Header.Get("Authorization") != "Bearer "+s.token {
		writeError(w, http.StatusUnauthorized, "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential.", "authError")
		return
	}
	want := map[string]string{ConnectSettings: http.MethodGet, GenerateEphemeralCert: http.MethodPost}[req.Call]
	if want == "" || req.Method != want {
		writeError(w, http.StatusNotFound, "Not Found", "notFound")
		return
	}
	s.mu.Lock()
	p := s.proxies[req.Instance]
	s.mu.Unlock()
	if p == nil {
		writeError(w, http.StatusNotFound, "The Cloud SQL instance does not exist.", "instanceDoesNotExist")
		return
	}
	if req.Call == ConnectSettings {
		writeJSON(w, p.settings())
		return
	}
	cert, problem := s.ephemeralCert(p, req.Body)
	if problem != "" {
		writeError(w, http.StatusBadRequest, problem, "invalid")
		return
	}
	writeJSON(w, cert)
}

// ephemeralCert signs a client certificate, or says why the request is invalid.
func (s *Server) ephemeralCert(p *Proxy, body []byte) (cert *sqladmin.GenerateEphemeralCertResponse, problem string) {
	var req sqladmin.GenerateEphemeralCertRequest
	if err := json.Unmarshal(body, &req); err != nil {
		return nil, "Invalid JSON payload received."
	}
	block, _ := pem.Decode([]byte(req.PublicKey))
	if block == nil {
		return nil, "Invalid value at 'public_key': not PEM."
	}
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, "Invalid value at 'public_key': not a public key."
	}
	if _, ok := public.(*rsa.PublicKey); !ok && !s.AllowAnyKey {
		return nil, "Invalid value at 'public_key': not an RSA key."
	}
	if req.AccessToken != "" && req.AccessToken != s.loginToken {
		return nil, "Invalid value at 'access_token'."
	}
	ttl := p.certTTL()
	if req.ValidDuration != "" {
		if ttl, err = time.ParseDuration(req.ValidDuration); err != nil || ttl <= 0 {
			return nil, "Invalid value at 'valid_duration'."
		}
	}
	signed := p.signClient(public, req.AccessToken, ttl)
	return &sqladmin.GenerateEphemeralCertResponse{EphemeralCert: sslCert(signed, p.id, pemCertificate(signed))}, ""
}

func sslCert(c *x509.Certificate, instance, text string) *sqladmin.SslCert {
	return &sqladmin.SslCert{
		Kind:             "sql#sslCert",
		Cert:             text,
		CertSerialNumber: c.SerialNumber.String(),
		CommonName:       c.Subject.CommonName,
		CreateTime:       c.NotBefore.UTC().Format(time.RFC3339),
		ExpirationTime:   c.NotAfter.UTC().Format(time.RFC3339),
		Instance:         instance,
	}
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	_ = json.NewEncoder(w).Encode(v)
}

// statusNames are the names that the API gives to HTTP codes.
var statusNames = map[int]string{
	http.StatusBadRequest:          "INVALID_ARGUMENT",
	http.StatusUnauthorized:        "UNAUTHENTICATED",
	http.StatusForbidden:           "PERMISSION_DENIED",
	http.StatusNotFound:            "NOT_FOUND",
	http.StatusTooManyRequests:     "RESOURCE_EXHAUSTED",
	http.StatusInternalServerError: "INTERNAL",
	http.StatusServiceUnavailable:  "UNAVAILABLE",
}

// writeError writes the API's error envelope.
func writeError(w http.ResponseWriter, code int, message, reason string) {
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(code)
	fmt.Fprintln(w, ErrorBody(code, message, reason))
}

// ErrorBody returns the API's error envelope, as the Body of a [Fault].
func ErrorBody(code int, message, reason string) string {
	type detail struct {
		Message string `json:"message"`
		Domain  string `json:"domain"`
		Reason  string `json:"reason"`
	}
	var envelope struct {
		Error struct {
			Code    int      `json:"code"`
			Message string   `json:"message"`
			Errors  []detail `json:"errors"`
			Status  string   `json:"status,omitempty"`
		} `json:"error"`
	}
	envelope.Error.Code, envelope.Error.Message = code, message
	envelope.Error.Errors = []detail{{message, "global", reason}}
	envelope.Error.Status = statusNames[code]
	return strings.TrimSpace(string(must(json.MarshalIndent(envelope, "", "  "))))
}
