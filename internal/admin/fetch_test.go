package admin_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
)

func TestBothCallsAreUnderWayAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var arrived sync.WaitGroup
		arrived.Add(2)
		together := func(r *http.Request) (*http.Response, error) {
			arrived.Done()
			arrived.Wait() // one call after the other would be a deadlock
			return genuine(r)
		}
		mustFetch(t, &api{settings: together, cert: together})
	})
}

func TestCallsSayWhoAsks(t *testing.T) {
	t.Parallel()
	a := &api{}
	c := newClient(t, a, func(cfg *admin.Config) { cfg.QuotaProject = "quota-project" })
	if _, _, err := c.Fetch(t.Context(), instance, true); err != nil {
		t.Fatal(err)
	}
	a.wantCalls(t, 1, 1)
	for _, r := range a.requests {
		if got := r.Header.Get("Authorization"); got != "Bearer "+apiToken {
			t.Errorf("%s: Authorization is %q", callOf(r.Request), got)
		}
		if got := r.Header.Get("X-Goog-User-Project"); got != "quota-project" {
			t.Errorf("%s: X-Goog-User-Project is %q", callOf(r.Request), got)
		}
		if got := r.Header.Get("User-Agent"); !strings.Contains(got, "my-agent/1.0") {
			t.Errorf("%s: User-Agent is %q", callOf(r.Request), got)
		}
	}
}

func TestHTTPClientMayAuthorizeCallsByItself(t *testing.T) {
	t.Parallel()
	a := &api{}
	c := newClient(t, a, func(cfg *admin.Config) { cfg.API = nil })
	if _, _, err := c.Fetch(t.Context(), instance, false); err != nil {
		t.Fatal(err)
	}
	for _, r := range a.requests {
		for _, name := range []string{"Authorization", "X-Goog-User-Project"} {
			if got, ok := r.Header[name]; ok {
				t.Errorf("%s: %s is %q, want none", callOf(r.Request), name, got)
			}
		}
	}
}

func TestURLs(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, endpoint, project, prefix string }{
		{"default endpoint", "", "my-project", "https://sqladmin.googleapis.com/"},
		{"no trailing slash", "http://127.0.0.1:8080", "my-project", "http://127.0.0.1:8080/"},
		{"trailing slash", "http://127.0.0.1:8080/", "my-project", "http://127.0.0.1:8080/"},
		{"path prefix", "https://proxy.test/cloud/sql", "my-project", "https://proxy.test/cloud/sql/"},
		{"path prefix with trailing slash", "https://proxy.test/cloud/sql/", "my-project", "https://proxy.test/cloud/sql/"},
		{"path prefix with a query", "https://proxy.test/cloud?x=1", "my-project", "https://proxy.test/cloud/"},
		{"domain-scoped project", "https://sqladmin.test", "example.com:my-project", "https://sqladmin.test/"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := &api{}
			c := newClient(t, a, func(cfg *admin.Config) { cfg.Endpoint = tt.endpoint })
			inst := instance
			inst.Project = tt.project
			if _, _, err := c.Fetch(t.Context(), inst, false); err != nil {
				t.Fatal(err)
			}
			want := tt.prefix + "sql/v1beta4/projects/" + tt.project + "/instances/my-db"
			for call, suffix := range map[string]string{connectSettings: "/connectSettings", ephemeralCert: ":generateEphemeralCert"} {
				u := a.received(call)[0].URL
				if got := u.Scheme + "://" + u.Host + u.Path; got != want+suffix {
					t.Errorf("called %s, want %s", got, want+suffix)
				}
			}
			if get, post := a.received(connectSettings)[0].Method, a.received(ephemeralCert)[0].Method; get != "GET" || post != "POST" {
				t.Errorf("methods are %s and %s", get, post)
			}
		})
	}
}

func TestEndpointThatIsNoURL(t *testing.T) {
	t.Parallel()
	for _, endpoint := range []string{"https://[::1", "https://sqladmin.test/%zz", "http://a b/"} {
		_, err := admin.NewClient(admin.Config{Endpoint: endpoint})
		if err == nil {
			t.Errorf("NewClient accepts the endpoint %q", endpoint)
			continue
		}
		if !admin.Terminal(err) {
			t.Errorf("%v is not terminal", err)
		}
	}
}

func TestPublicKeyIsSentAsPKIX(t *testing.T) {
	t.Parallel()
	for name, key := range map[string]func() (crypto.Signer, error){
		"RSA":   admin.ProcessKey,
		"ECDSA": func() (crypto.Signer, error) { return clientKey, nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := &api{}
			c := newClient(t, a, func(cfg *admin.Config) { cfg.Key = key })
			info, _, err := c.Fetch(t.Context(), instance, false)
			if err != nil {
				t.Fatal(err)
			}
			var body struct {
				PublicKey string `json:"public_key"`
			}
			if err := json.Unmarshal(a.received(ephemeralCert)[0].body, &body); err != nil {
				t.Fatal(err)
			}
			b, rest := pem.Decode([]byte(body.PublicKey))
			if b == nil || b.Type != "PUBLIC KEY" || len(rest) > 0 {
				t.Fatalf("public_key is %q", body.PublicKey)
			}
			public, err := x509.ParsePKIXPublicKey(b.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			signer, err := key()
			if err != nil {
				t.Fatal(err)
			}
			if want := signer.Public().(interface{ Equal(crypto.PublicKey) bool }); !want.Equal(public) || !want.Equal(info.Certificate.PublicKey) {
				t.Errorf("the key that was sent or the certificate's is not the client's")
			}
		})
	}
}

func TestProcessHasOneRSAKey(t *testing.T) {
	t.Parallel()
	keys := make(chan crypto.Signer, 4)
	var wg sync.WaitGroup
	for range cap(keys) {
		wg.Go(func() {
			key, err := admin.ProcessKey()
			if err != nil {
				t.Error(err)
			}
			keys <- key
		})
	}
	wg.Wait()
	first := (<-keys).(*rsa.PrivateKey)
	if first.N.BitLen() != 2048 {
		t.Errorf("the key has %d bits", first.N.BitLen())
	}
	for len(keys) > 0 {
		if <-keys != first {
			t.Error("the process has several keys")
		}
	}
}

// foreignKey is a signer with a public key of a kind unknown to crypto/x509.
type foreignKey struct{ *ecdsa.PrivateKey }

func (foreignKey) Public() crypto.PublicKey { return "no key at all" }

func TestUnusableClientKey(t *testing.T) {
	t.Parallel()
	broken := errors.New("the HSM is locked")
	for _, tt := range []struct {
		key  crypto.Signer
		err  error
		want string
	}{
		{nil, broken, "no client key: the HSM is locked"},
		{foreignKey{}, nil, "client key: x509: unsupported public key type: string"},
	} {
		a := &api{settings: hangs}
		c := newClient(t, a, func(cfg *admin.Config) {
			cfg.Key = func() (crypto.Signer, error) { return tt.key, tt.err }
		})
		err := fetchError(t.Context(), t, c, false)
		if err.Error() != tt.want {
			t.Errorf("error is %q, want %q", err, tt.want)
		}
		var cfg *admin.ConfigError
		if !errors.As(err, &cfg) || !admin.Terminal(err) {
			t.Errorf("%v is no terminal ConfigError", err)
		}
		if tt.err != nil && !errors.Is(err, tt.err) {
			t.Errorf("%v does not wrap its cause", err)
		}
		if n := len(a.received(ephemeralCert)); n > 0 {
			t.Errorf("%d calls for a certificate without a key", n)
		}
	}
}

func TestSixteenFetchesAtOnceAndNoMore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var running, most atomic.Int32
		slow := func(r *http.Request) (*http.Response, error) {
			n := running.Add(1)
			defer running.Add(-1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			return after(time.Second, genuine)(r)
		}
		c := newClient(t, &api{settings: slow, cert: after(time.Second, genuine)})
		began := time.Now()
		var wg sync.WaitGroup
		for range 40 {
			wg.Go(func() {
				if _, _, err := c.Fetch(t.Context(), instance, false); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := most.Load(); n != 16 {
			t.Errorf("%d at once, want 16", n)
		}
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("40 Fetches of a second took %v, want three rounds", took)
		}
	})
}

func TestQueuedFetchEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &api{settings: hangs, cert: hangs}
		c := newClient(t, a)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() { _, _, _ = c.Fetch(ctx, instance, false) })
		}
		synctest.Wait()
		a.wantCalls(t, 16, 16)

		hurried, done := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer done()
		began := time.Now()
		err := fetchError(hurried, t, c, false)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error is %v", err)
		}
		wantText(t, err, "waited for other refreshes")
		if took := time.Since(began); took != 100*time.Millisecond {
			t.Errorf("Fetch took %v", took)
		}
		a.wantCalls(t, 16, 16)

		cancel()
		wg.Wait()
		a.settings, a.cert = nil, nil
		if _, _, err := c.Fetch(t.Context(), instance, false); err != nil {
			t.Errorf("after the queue has gone: %v", err)
		}
	})
}
