package faults_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
)

// sample is an answer in a shape that people have published, and what is right
// to make of it: see testdata/realdata.
type sample struct {
	ID, Name string
	Settings json.RawMessage
	PKI      *samplePKI
	Replies  map[string]sampleAnswer // by call; "*": all
	ADC      json.RawMessage
	ADCValue string
	IAM      bool
	Env      map[string]string
	Tokens   map[string]sampleAnswer // by path
	Metadata map[string]sampleAnswer // by path behind /computeMetadata/v1/
	DNS      map[string]struct{ TXT, Host []string }
	Want     struct {
		OK          bool
		Engine      string
		Is, IsNot   []string
		Error, Hint []string
		ErrorLacks  []string
		HintLacks   []string
		ErrorMax    int
		Waits       *bool
		Dialled     []string
	}
}

type sampleAnswer struct {
	Status int
	Header map[string]string
	Body   json.RawMessage
	Text   string
}

func (a sampleAnswer) text() string {
	if a.Body != nil {
		return string(a.Body)
	}
	return a.Text
}

func (a sampleAnswer) header() http.Header {
	h := http.Header{"Content-Type": {"application/json; charset=UTF-8"}}
	for k, v := range a.Header {
		h.Set(k, v)
	}
	return h
}

// What the kit and the tests took for the API's answers was in part invented.
// These are as published.
func TestSamplesOfTheRealAPIGiveWhatIsRight(t *testing.T) {
	text, err := os.ReadFile("testdata/realdata/samples.json")
	if err != nil {
		t.Fatal(err)
	}
	var samples []sample
	if err := json.Unmarshal(text, &samples); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.ProcessKey(); err != nil { // outside the bubbles: it takes real time
		t.Fatal(err)
	}
	for _, s := range samples {
		t.Run(s.ID, func(t *testing.T) {
			for _, problem := range s.play(t) {
				t.Error(problem)
			}
		})
	}
}

// play returns what is wrong. The metadata server cannot be reached on fake
// time.
func (s *sample) play(t *testing.T) (problems []string) {
	home := t.TempDir()
	env := map[string]string{
		"GOOGLE_APPLICATION_CREDENTIALS": "", "GOOGLE_CLOUD_QUOTA_PROJECT": "", "GOOGLE_CLOUD_UNIVERSE_DOMAIN": "",
		"GOOGLE_API_CERTIFICATE_CONFIG": "", "CLOUDSDK_CONFIG": "", "HOME": home, "APPDATA": home, "GCE_METADATA_HOST": "", "NO_GCE_CHECK": "true",
	}
	subject := filepath.Join(home, "subject")
	fill := strings.NewReplacer("{{URL}}", tokenURL, "{{SUBJECT}}", subject, "{{KEY}}", sampleKeyPEM())
	switch {
	case s.ADCValue != "":
		env["GOOGLE_APPLICATION_CREDENTIALS"] = fill.Replace(s.ADCValue)
	case s.ADC != nil:
		file(t, subject, []byte("subject-token"))
		env["GOOGLE_APPLICATION_CREDENTIALS"] = file(t, filepath.Join(home, "adc.json"), []byte(fill.Replace(string(s.ADC))))
	}
	maps.Copy(env, s.Env)
	for k, v := range env {
		t.Setenv(k, v)
	}
	if s.ADCValue != "" {
		return s.dial(t, cloudsqltest.NewServer())
	}
	if s.Metadata != nil {
		m := httptest.NewServer(http.HandlerFunc(s.serveMetadata))
		t.Cleanup(m.Close)
		onMachine(t, m.Listener.Addr())
		return s.dial(t, cloudsqltest.NewServer())
	}
	synctest.Test(t, func(t *testing.T) { problems = s.dial(t, cloudsqltest.NewMemoryServer()) })
	return problems
}

const (
	tokenURL    = "https://tokens.googleapis.com"
	sampleToken = "ya29.c.metadata"
	sampleName  = "acme-prod:us-central1:orders-db"
)

func (s *sample) dial(t *testing.T, server *cloudsqltest.Server) (problems []string) {
	defer server.Close()
	server.OnRequest = s.reply
	name := s.Name
	if name == "" {
		name = sampleName
	}
	target, dns := name, cloudsqltest.NewDNS()
	if s.DNS != nil {
		target = sampleName
		for host, r := range s.DNS {
			dns.SetTXT(host, r.TXT...)
			dns.SetHost(host, r.Host...)
		}
	}
	instance := server.AddInstance(target, s.instance())
	addr := net.JoinHostPort(instance.Addrs()[cloudsqlconn.PublicIP], "3307")
	var mu sync.Mutex
	var dialled []string
	opts := []cloudsqlconn.Option{
		cloudsqlconn.WithAdminAPIEndpoint(server.URL()), cloudsqlconn.WithDNSResolver(dns),
		cloudsqlconn.WithDialFunc(func(ctx context.Context, network, to string) (net.Conn, error) {
			mu.Lock()
			dialled = append(dialled, to)
			mu.Unlock()
			return server.DialContext(ctx, network, addr)
		}),
		cloudsqlconn.DialOptions(cloudsqlconn.WithAutoIP(), cloudsqlconn.WithIAMAuthN(s.IAM)),
	}
	if s.ADC == nil && s.ADCValue == "" && s.Metadata == nil {
		opts = append(server.Options(), opts...)
	} else {
		server.SetTokens(sampleToken, sampleToken)
		if s.ADC != nil {
			opts = append(opts, cloudsqlconn.WithCredentialsFile(os.Getenv("GOOGLE_APPLICATION_CREDENTIALS")),
				cloudsqlconn.WithHTTPClient(&http.Client{Transport: route{server.Client().Transport, tokenServer{s}}}))
		}
	}
	d, err := cloudsqlconn.NewDialer(context.Background(), opts...)
	if err != nil {
		return s.compare(err, nil, "")
	}
	defer d.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c, err := d.Dial(ctx, name)
	engine := ""
	if err == nil {
		err = echo(c)
		c.Close()
		engine, _ = d.EngineVersion(ctx, name)
	}
	return s.compare(err, dialled, engine)
}

// instance is one with the sample's answers and certificates.
func (s *sample) instance() (cfg cloudsqltest.Instance) {
	ca := ""
	if s.PKI != nil {
		cfg.ServerCert, ca = s.PKI.issue()
	}
	if s.Settings != nil || ca != "" {
		cfg.AlterSettings = func(fields map[string]any) {
			anchors := cmp.Or(ca, fields["serverCaCert"].(map[string]any)["cert"].(string))
			if s.Settings != nil {
				clear(fields)
				_ = json.Unmarshal(s.Settings, &fields)
			}
			fields["serverCaCert"].(map[string]any)["cert"] = anchors
		}
	}
	return cfg
}

func (s *sample) reply(r *http.Request) *cloudsqltest.Fault {
	for call, a := range s.Replies {
		if call == "*" || strings.HasSuffix(r.URL.Path, call) {
			return &cloudsqltest.Fault{Status: a.Status, Header: a.header(), Body: a.text()}
		}
	}
	return nil
}

func (s *sample) serveMetadata(w http.ResponseWriter, r *http.Request) {
	a, ok := s.Metadata[strings.TrimPrefix(r.URL.Path, "/computeMetadata/v1/")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/text")
	w.Header().Set("Metadata-Flavor", "Google")
	w.WriteHeader(a.Status)
	_, _ = w.Write([]byte(a.text()))
}

// tokenServer gives tokens, unless the sample says what it answers.
type tokenServer struct{ s *sample }

// RoundTrip answers without a network.
func (t tokenServer) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	w.Header().Set("Content-Type", "application/json")
	if a, ok := t.s.Tokens[r.URL.Path]; ok {
		w.WriteHeader(a.Status)
		_, _ = w.WriteString(a.text())
	} else {
		_ = json.NewEncoder(w).Encode(map[string]any{
			"access_token": sampleToken, "issued_token_type": "urn:ietf:params:oauth:token-type:access_token", "token_type": "Bearer", "expires_in": 3599,
			"accessToken": sampleToken, "expireTime": time.Now().Add(time.Hour).Format(time.RFC3339),
		})
	}
	return w.Result(), nil
}

// sampleErrors are the errors by the names that samples have.
var sampleErrors = map[string]error{
	"ErrPermission": cloudsqlconn.ErrPermission, "ErrNotFound": cloudsqlconn.ErrNotFound, "ErrUnverified": cloudsqlconn.ErrUnverified,
}

// compare returns what is not as the sample wants it.
func (s *sample) compare(err error, dialled []string, engine string) (problems []string) {
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	want, text, hint := s.Want, fmt.Sprint(err), cloudsqlconn.Hint(err)
	if want.OK != (err == nil) {
		wrong("error: %s; hint: %s", text, hint)
		return problems
	}
	for _, is := range want.Is {
		if !errors.Is(err, sampleErrors[is]) {
			wrong("error is no %s: %s", is, text)
		}
	}
	for _, is := range want.IsNot {
		if errors.Is(err, sampleErrors[is]) {
			wrong("error is %s: %s", is, text)
		}
	}
	has := func(what, in string, all []string, there bool) {
		for _, part := range all {
			if strings.Contains(in, part) != there {
				wrong("%s has %q: %v, want %v: %s", what, part, !there, there, in)
			}
		}
	}
	has("error", text, want.Error, true)
	has("error", text, want.ErrorLacks, false)
	has("hint", hint, want.Hint, true)
	has("hint", hint, want.HintLacks, false)
	if want.ErrorMax > 0 && len(text) > want.ErrorMax {
		wrong("error has %d bytes, want at most %d: %s", len(text), want.ErrorMax, text)
	}
	if want.Waits != nil && *want.Waits != errors.Is(err, context.DeadlineExceeded) {
		wrong("waits: %v: %s", !*want.Waits, text)
	}
	if want.Engine != "" && engine != want.Engine {
		wrong("engine %s, want %s", engine, want.Engine)
	}
	if want.Dialled != nil && !slices.Equal(dialled, want.Dialled) {
		wrong("dialled %v, want %v", dialled, want.Dialled)
	}
	return problems
}
