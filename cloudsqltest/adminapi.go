package cloudsqltest

import (
	"bytes"
	"compress/gzip"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/internal/certs"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/internal/dns"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/internal/reply"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqladmin"
)

// The calls of the Admin API, as [Request] names them.
const (
	ConnectSettings       = "connectSettings"
	GenerateEphemeralCert = "generateEphemeralCert"

	ResolveConnectSettings = "resolveConnectSettings"
)

// methods are the HTTP methods of the calls.
var methods = map[string]string{
	ConnectSettings:        http.MethodGet,
	GenerateEphemeralCert:  http.MethodPost,
	ResolveConnectSettings: http.MethodGet,
}

// permissions are what the calls need.
var permissions = map[string]string{
	ConnectSettings:       "cloudsql.instances.get",
	GenerateEphemeralCert: "cloudsql.instances.connect",
}

// maxBody bounds what a request may send.
const maxBody = 1 << 20

// route matches the paths of the calls about an instance, in both versions of
// the API; v1 goes by two paths. A colon in a domain-scoped project can be escaped; URL.Path is
// not.
var route = regexp.MustCompile(`^(?:/sql/v1beta4|/sql/v1|/v1)/projects/([^/]+)/instances/([^/:]+)(?:/(connectSettings)|:(generateEphemeralCert))$`)

// dnsRoute matches the paths of resolveConnectSettings.
var dnsRoute = regexp.MustCompile(`^(?:/sql/v1beta4|/sql/v1|/v1)/locations/([^/]+)/dns/([^/:]+):resolveConnectSettings$`)

// serveAPI answers Admin API requests.
func (s *Server) serveAPI(w http.ResponseWriter, r *http.Request) {
	defer func() {
		if e := recover(); e != nil {
			if e != http.ErrAbortHandler {
				log.Printf("cloudsqltest: panic in %s %s: %v\n%s", r.Method, r.URL.Path, e, debug.Stack())
			}
			panic(http.ErrAbortHandler) // ends the connection
		}
	}()
	s.mu.Lock()
	s.serving[r] = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.serving, r)
		s.mu.Unlock()
	}()

	header := r.Header.Clone()
	body, err := readBody(w, r)
	req := Request{Time: time.Now(), Method: r.Method, Path: r.URL.Path, Header: header, Body: body}
	if m := route.FindStringSubmatch(r.URL.Path); m != nil {
		req.Instance, req.Call = m[1]+":"+m[2], m[3]+m[4]
	} else if m := dnsRoute.FindStringSubmatch(r.URL.Path); m != nil {
		req.Instance, req.Call = s.withDNSName(m[1], m[2]), ResolveConnectSettings
	}
	if s.OnRequest != nil {
		r.Body = io.NopCloser(bytes.NewReader(body))
		req.Fault = s.OnRequest(r)
	}
	var rule *ActiveRule
	if req.Fault == nil {
		if rule = s.ruleFor(req.Instance, req.Call); rule != nil {
			req.Fault = rule.fault
		}
	}
	answered := s.record(&req)
	defer func() { s.logRequest(r, &req, rule) }()

	f := req.Fault
	if f == nil {
		f = &Fault{}
	}
	if !f.wait(r.Context(), s.closing) {
		panic(http.ErrAbortHandler)
	}
	a := f.answer(func() *reply.Reply {
		if err != nil {
			return reply.BadRequest("The request body cannot be read: " + err.Error())
		}
		return s.answer(&req)
	})
	if f.breaksAt() != AtStart {
		answered(a.Status)
	}
	if f.breaksAt() != Nowhere {
		f.breakOff(r.Context().Value(connKey{}).(net.Conn), a)
		panic(http.ErrAbortHandler)
	}
	a.Send(w)
}

// readBody reads a request's body, which Google's library for Java compresses,
// and makes the request one that was not compressed.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body := http.MaxBytesReader(w, r.Body, maxBody)
	if r.Header.Get("Content-Encoding") != "gzip" {
		return io.ReadAll(body)
	}
	text, err := gzip.NewReader(body)
	if err != nil {
		return nil, err
	}
	plain, err := io.ReadAll(http.MaxBytesReader(w, text, maxBody))
	if err == nil {
		r.Header.Del("Content-Encoding")
		r.ContentLength = int64(len(plain))
	}
	return plain, err
}

// answer is what the API says when nothing goes wrong.
func (s *Server) answer(req *Request) *reply.Reply {
	if req.Call == "" || req.Method != methods[req.Call] {
		return reply.NoCall()
	}
	scheme, token, _ := strings.Cut(req.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || !s.takes(token) {
		return reply.Unauthenticated()
	}
	project := req.Instance[:max(0, strings.LastIndex(req.Instance, ":"))]
	if !s.spend(token) {
		return reply.Quota(project)
	}
	s.mu.Lock()
	p, known := s.instances[req.Instance], s.projects[project]
	s.mu.Unlock()
	switch {
	case !known && req.Call != ResolveConnectSettings:
		return reply.Forbidden(permissions[req.Call], req.Instance[strings.LastIndex(req.Instance, ":")+1:])
	case p == nil:
		return reply.NoInstance()
	}
	if state := p.State(); state != Runnable {
		return wrongState(state)
	}
	if req.Call != GenerateEphemeralCert {
		return p.settingsReply()
	}
	cert, problem := s.ephemeralCert(p, req.Body)
	if problem != "" {
		return reply.BadRequest(problem)
	}
	return reply.JSON(cert)
}

// withDNSName returns the project:instance of the instance in a region that has
// a DNS name, or "". The name must have its trailing dot, as all connectors send
// it. Nodes of read pools are not found: whether they can be is not public.
func (s *Server) withDNSName(region, name string) (key string) {
	host, dotted := strings.CutSuffix(name, ".")
	if !dotted || host == "" {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, p := range s.instances {
		if p.name.Region() == region && p.hasDNSName(dns.Key(host)) && (key == "" || k < key) {
			key = k
		}
	}
	return key
}

// hasDNSName takes a name in the form of dns.Key.
func (p *EmulatedInstance) hasDNSName(name string) bool {
	return slices.ContainsFunc(append(slices.Clone(p.cfg.DNSNames), p.Addrs()[cloudsqlconn.PSC]), func(has string) bool { return dns.Key(has) == name })
}

// validDuration is a duration as the API writes it, longer than nothing.
var validDuration = regexp.MustCompile(`^[0-9]{1,9}(\.[0-9]{1,9})?s$`)

// ephemeralCert signs a client certificate, or says why the request is invalid.
func (s *Server) ephemeralCert(p *EmulatedInstance, body []byte) (cert *sqladmin.GenerateEphemeralCertResponse, problem string) {
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
	if req.AccessToken != "" && !s.takesForLogin(req.AccessToken) {
		return nil, "Invalid value at 'access_token'."
	}
	var life time.Duration
	if req.ValidDuration != "" {
		if life, err = time.ParseDuration(req.ValidDuration); err != nil || life <= 0 || !validDuration.MatchString(req.ValidDuration) {
			return nil, "Invalid value at 'valid_duration'."
		}
	}
	signed, err := p.certs.SignClient(public, req.AccessToken, life)
	if err != nil {
		return nil, "Invalid value at 'public_key': cannot be signed."
	}
	return &sqladmin.GenerateEphemeralCertResponse{EphemeralCert: sslCert(signed, p.name.Instance(), certs.PEM(signed))}, ""
}

// sslCert describes a certificate; text is the PEM, of it or of a bundle.
func sslCert(c *x509.Certificate, instance, text string) *sqladmin.SslCert {
	const layout = "2006-01-02T15:04:05.000Z"
	return &sqladmin.SslCert{
		Kind:             "sql#sslCert",
		Cert:             text,
		CertSerialNumber: c.SerialNumber.String(),
		CommonName:       c.Subject.CommonName,
		CreateTime:       c.NotBefore.UTC().Format(layout),
		ExpirationTime:   c.NotAfter.UTC().Format(layout),
		Sha1Fingerprint:  fmt.Sprintf("%x", sha1.Sum(c.Raw)),
		Instance:         instance,
	}
}
