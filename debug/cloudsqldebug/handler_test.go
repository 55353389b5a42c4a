package cloudsqldebug_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/debug/cloudsqldebug"
	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
)

const (
	readyName   = "my-project:europe-west1:orders"
	failingName = "my-project:europe-west1:payments"
	downName    = "my-project:europe-west1:reports"
	newName     = "my-project:us-central1:archive"
)

// injected is an error text that must not become markup.
const injected = `<script>alert("x")</script><img src=//evil.example/x>`

// populate gives a Dialer instances in various states. On return one refresh
// is still under way, which ends with the server.
func populate(t *testing.T, s *cloudsqltest.Server, opts ...cloudsqlconn.Option) *cloudsqlconn.Dialer {
	t.Helper()
	var refuse *cloudsqltest.Fault
	s.OnRequest = func(r *http.Request) *cloudsqltest.Fault {
		switch {
		case strings.Contains(r.URL.Path, "archive"):
			return &cloudsqltest.Fault{Hang: true}
		case strings.Contains(r.URL.Path, "payments"):
			return refuse
		}
		return nil
	}
	s.AddInstance(readyName, cloudsqltest.Instance{CertTTL: 3 * time.Minute})
	failing := s.AddInstance(failingName, cloudsqltest.Instance{DatabaseVersion: "MYSQL_8_0"})
	d, err := cloudsqlconn.NewDialer(t.Context(), append(s.Options(), opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	for i, iam := range []bool{false, true, false} {
		c, err := d.Dial(t.Context(), readyName, cloudsqlconn.WithIAMAuthN(iam))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if _, err := io.WriteString(c, strings.Repeat("x", 1000*(i+1))); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Warmup(t.Context(), failingName); err != nil {
		t.Fatal(err)
	}
	refuse = &cloudsqltest.Fault{Status: 403, Body: cloudsqltest.ErrorBody(403, injected, "notAuthorized")}
	failing.Stop()
	if c, err := d.Dial(t.Context(), failingName, cloudsqlconn.WithDialTimeout(5*time.Second)); err == nil {
		_ = c.Close()
		t.Fatal("the fault did not happen")
	}
	if err := d.Warmup(t.Context(), downName); err == nil {
		t.Fatal("the fault did not happen")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := d.Warmup(ctx, newName); err == nil {
		t.Fatal("the fault did not happen")
	}
	return d
}

// inBubble runs a test with a populated Dialer on fake time.
func inBubble(t *testing.T, test func(t *testing.T, s *cloudsqltest.Server, d *cloudsqlconn.Dialer), opts ...cloudsqlconn.Option) {
	t.Helper()
	t.Parallel()
	if _, err := admin.ProcessKey(); err != nil { // outside the bubble: it takes real time
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		s := cloudsqltest.NewMemoryServer()
		t.Cleanup(s.Close)
		test(t, s, populate(t, s, opts...))
	})
}

// get asks the handler.
func get(d *cloudsqlconn.Dialer, method, target string, header ...string) *http.Response {
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	cloudsqldebug.Handler(d).ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestThePageTellsTheStateOfEachInstance(t *testing.T) {
	inBubble(t, func(t *testing.T, s *cloudsqltest.Server, d *cloudsqlconn.Dialer) {
		time.Sleep(50 * time.Second)
		r := get(d, "GET", "/debug/cloudsql")
		text := body(t, r)
		for _, want := range []string{
			"2 ready, 1 failing, 1 down, 1 new",
			`<section class="ready">`, `<section class="failing">`, `<section class="down">`, `<section class="new">`,
			">" + readyName + "<", ">" + newName + "<", "IAM login", "MYSQL_8_0", "PUBLIC 127.1.0.",
			`2000-01-01T00:03:00Z</time> <small>in 2 min `, "72 % left", `width="72"`, ">refreshing<",
			"2 open", "2 kB read, 4 kB written", "&lt;script&gt;alert(", ">forced<", "The Cloud SQL instance does not exist.",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("%q is not in the page", want)
			}
		}
		for _, not := range []string{injected, "<script", "<img", s.Token(), s.LoginToken(), "PRIVATE KEY"} {
			if strings.Contains(text, not) {
				t.Errorf("%q is in the page", not)
			}
		}
		if strings.Contains(text, "ZgotmplZ") {
			t.Error("html/template has found something unsafe")
		}
		if t.Failed() {
			t.Log(text)
		}
	})
}

func TestThePageIsSelfContained(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *cloudsqltest.Server, d *cloudsqlconn.Dialer) {
		r := get(d, "GET", "/")
		text := body(t, r)
		links := regexp.MustCompile(`(?i)\b(?:href|src|srcset|action|data|poster)\s*=\s*"[^"]*"|url\([^)]*\)|@import|<(?:script|link|img|iframe|object|embed|base)\b[^>]*>`).FindAllString(text, -1)
		for _, link := range links {
			if link != `href="?format=json"` && link != `<link rel="icon" href="data:,">` {
				t.Errorf("the page has %s", link)
			}
		}
		if policy := r.Header.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'") || strings.Contains(policy, "script-src") {
			t.Errorf("policy %q", policy)
		}
		if strings.Contains(text, " style=") {
			t.Error("the page has styles in attributes")
		}
	})
}

func TestJSONTellsTheSame(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *cloudsqltest.Server, d *cloudsqlconn.Dialer) {
		for _, r := range []*http.Response{get(d, "GET", "/?format=json"), get(d, "GET", "/", "Accept", "application/json")} {
			var got struct {
				Time      time.Time
				Instances []struct {
					Name, State, DatabaseVersion, LastError string
					IAMAuthN, Refreshing                    bool
					Addrs                                   map[string][]string
					LastRefresh, Expiry, CertificateExpiry  time.Time
					LifeLeft                                float64
					FailedAttempts                          int
					OpenConnections, BytesRead              int64
					History                                 []struct {
						Time    time.Time
						Seconds float64
						Forced  bool
						Hedges  int
						Error   string
					}
				}
			}
			if err := json.Unmarshal([]byte(body(t, r)), &got); err != nil || r.Header.Get("Content-Type") != "application/json" {
				t.Fatalf("%v, %v", err, r.Header)
			}
			var states []string
			for _, i := range got.Instances {
				states = append(states, i.Name+" "+i.State)
			}
			want := []string{readyName + " ready", readyName + " ready", failingName + " failing", downName + " down", newName + " new"}
			if strings.Join(states, ", ") != strings.Join(want, ", ") {
				t.Fatalf("got %q", states)
			}
			password, iam, failing, fresh := got.Instances[0], got.Instances[1], got.Instances[2], got.Instances[4]
			if password.IAMAuthN || !iam.IAMAuthN || password.OpenConnections != 2 || iam.BytesRead != 1000 || password.LifeLeft < 0.95 || password.LifeLeft > 1 || len(password.Addrs["PUBLIC"]) != 1 {
				t.Errorf("got %+v, %+v", password, iam)
			}
			if h := failing.History; len(h) != 2 || !h[0].Forced || !strings.Contains(h[0].Error, injected) || h[1].Forced || h[1].Error != "" || failing.FailedAttempts != 1 || !strings.Contains(failing.LastError, "403") {
				t.Errorf("got %+v", failing)
			}
			if !fresh.Refreshing || !fresh.LastRefresh.IsZero() || !fresh.Expiry.IsZero() || fresh.History == nil {
				t.Errorf("got %+v", fresh)
			}
		}
	})
}

func TestCallsMadeASecondTimeAreShown(t *testing.T) {
	t.Parallel()
	if _, err := admin.ProcessKey(); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		s := cloudsqltest.NewMemoryServer()
		defer s.Close()
		s.AddInstance(readyName, cloudsqltest.Instance{})
		hang := &cloudsqltest.Fault{Hang: true, Times: 2}
		s.OnRequest = func(*http.Request) *cloudsqltest.Fault { return hang }
		d, err := cloudsqlconn.NewDialer(t.Context(), s.Options()...)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if err := d.Warmup(t.Context(), readyName); err != nil || s.Hits(hang) != 2 {
			t.Fatalf("%v, %d faults", err, s.Hits(hang))
		}
		if text := body(t, get(d, "GET", "/")); !strings.Contains(text, "<td>1.5s <small>2 hedges</small></td>") {
			t.Errorf("no hedges in %s", text)
		}
		if text := body(t, get(d, "GET", "/?format=json")); !strings.Contains(text, `"hedges": 2`) {
			t.Errorf("no hedges in %s", text)
		}
	})
}

func TestWhoAsksForWhat(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *cloudsqltest.Server, d *cloudsqlconn.Dialer) {
		for _, tt := range []struct {
			method, target, accept string
			status                 int
			contentType            string
		}{
			{"GET", "/", "", 200, "text/html; charset=utf-8"},
			{"GET", "/", "text/html,application/xhtml+xml,application/json;q=0.9", 200, "text/html; charset=utf-8"},
			{"GET", "/?format=html", "application/json", 200, "text/html; charset=utf-8"},
			{"HEAD", "/any/path", "", 200, "text/html; charset=utf-8"},
			{"POST", "/", "", 405, "text/plain; charset=utf-8"},
			{"OPTIONS", "/?format=json", "", 405, "text/plain; charset=utf-8"},
		} {
			r := get(d, tt.method, tt.target, "Accept", tt.accept)
			if r.StatusCode != tt.status || r.Header.Get("Content-Type") != tt.contentType || (r.Header.Get("Allow") != "") != (tt.status == 405) ||
				r.Header.Get("X-Content-Type-Options") != "nosniff" || r.Header.Get("Content-Security-Policy") == "" {
				t.Errorf("%s %s for %q: %d, %v", tt.method, tt.target, tt.accept, r.StatusCode, r.Header)
			}
		}
	})
}

// As a real server does it: a recorder keeps what net/http leaves out.
func TestHEADHasNoBody(t *testing.T) {
	t.Parallel()
	d, err := cloudsqlconn.NewDialer(t.Context(), cloudsqlconn.WithLazyRefresh(), cloudsqlconn.WithTokenSource(oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "x"})))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	s := httptest.NewServer(cloudsqldebug.Handler(d))
	defer s.Close()
	r, err := s.Client().Head(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	if text := body(t, r); text != "" || r.ContentLength <= 0 {
		t.Errorf("%d bytes of %d", len(text), r.ContentLength)
	}
	_ = r.Body.Close()
	if text := body(t, get(d, "GET", "/")); !strings.Contains(text, "No instance has been dialled yet.") {
		t.Errorf("got %s", text)
	}
}

func TestExpiredAndClosed(t *testing.T) {
	inBubble(t, func(t *testing.T, s *cloudsqltest.Server, d *cloudsqlconn.Dialer) {
		time.Sleep(3 * time.Hour)
		before := len(s.Requests())
		text := body(t, get(d, "GET", "/"))
		for _, want := range []string{"2 expired", "0 % left", "2 h 57 min ago", `<section class="expired">`} {
			if !strings.Contains(text, want) {
				t.Errorf("%q is not in %s", want, text)
			}
		}
		if n := len(s.Requests()); n != before {
			t.Errorf("showing the page made %d API calls", n-before)
		}
		_ = d.Close()
		if text := body(t, get(d, "GET", "/")); !strings.Contains(text, "No instance has been dialled yet.") {
			t.Errorf("after Close: %s", text)
		}
	}, cloudsqlconn.WithLazyRefresh())
}

func TestNothingIsRegistered(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/", "/debug/cloudsql", "/debug/cloudsqldebug"} {
		if _, pattern := http.DefaultServeMux.Handler(httptest.NewRequest("GET", path, nil)); pattern != "" {
			t.Errorf("%s is served by %q", path, pattern)
		}
	}
}

func TestThePageTellsOfSQLData(t *testing.T) {
	inBubble(t, func(t *testing.T, s *cloudsqltest.Server, _ *cloudsqlconn.Dialer) {
		s.ServeSQLData(cloudsqltest.SQLDataConfig{})
		d, err := cloudsqlconn.NewDialer(t.Context(), append(s.Options(), cloudsqlconn.WithSQLData(cloudsqlconn.SQLDataPrefer))...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = d.Close() })
		c, err := d.Dial(t.Context(), readyName) // which it does not serve
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
		if text := body(t, get(d, "GET", "/")); !strings.Contains(text, "<dt>SQL Data</dt><dd>does not serve the instance; asked again <small>in 1") {
			t.Errorf("it is not in %s", text)
		}
		if text := body(t, get(d, "GET", "/?format=json")); !strings.Contains(text, `"sqlDataUnserved": "2000-01-01T00:1`) || strings.Contains(text, "sqlDataCooldown") {
			t.Errorf("it is not in %s", text)
		}
	})
}
