package admin_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/tlsverify"
)

// kitClient returns a client of s with a transport and a key of its own.
func kitClient(t *testing.T, s *cloudsqltest.Server) *admin.Client {
	t.Helper()
	return newClient(t, nil, func(cfg *admin.Config) {
		cfg.Endpoint = s.URL()
		cfg.HTTPClient = nil
		cfg.API = static(&oauth2.Token{AccessToken: s.Token()})
		cfg.Login = static(&oauth2.Token{AccessToken: s.LoginToken()})
		cfg.Key = admin.ProcessKey
	})
}

func TestFetchOverTheNetwork(t *testing.T) {
	t.Parallel()
	s := cloudsqltest.NewServer()
	t.Cleanup(s.Close)
	p := s.AddInstance("example.com:my-project:us-central1:my-db", cloudsqltest.Instance{CAMode: cloudsqltest.GoogleCAS, CertTTL: 10 * time.Minute})
	c := kitClient(t, s)
	inst := admin.Instance{Project: "example.com:my-project", Region: "us-central1", ID: "my-db"}
	for _, iam := range []bool{false, true} {
		info, expiry, err := c.Fetch(t.Context(), inst, iam)
		if err != nil {
			t.Fatal(err)
		}
		for kind, host := range p.Addrs() {
			if got := info.Addrs[kind.String()]; len(got) != 1 || got[0] != host {
				t.Errorf("%s address is %v, want %s", kind, got, host)
			}
		}
		if left := time.Until(expiry); left < 9*time.Minute || left > 10*time.Minute {
			t.Errorf("expires in %v", left)
		}
	}
	for _, r := range s.Requests() {
		if r.Instance != "example.com:my-project:my-db" || r.Call == "" {
			t.Errorf("%s %s is for %q", r.Method, r.Path, r.Instance)
		}
		if ua := r.Header.Get("User-Agent"); !strings.Contains(ua, "my-agent/1.0") {
			t.Errorf("User-Agent is %q", ua)
		}
	}
}

func TestKitRefusesKeysThatAreNotRSA(t *testing.T) {
	t.Parallel()
	s := cloudsqltest.NewServer()
	t.Cleanup(s.Close)
	s.AddInstance("my-project:us-central1:my-db", cloudsqltest.Instance{})
	c := newClient(t, nil, func(cfg *admin.Config) {
		cfg.Endpoint, cfg.HTTPClient = s.URL(), nil
		cfg.API = static(&oauth2.Token{AccessToken: s.Token()})
	})
	err := fetchError(t.Context(), t, c, false)
	wantText(t, err, "generateEphemeralCert: googleapi: Error 400: Invalid value at 'public_key': not an RSA key.")
	if !admin.Terminal(err) {
		t.Errorf("%v is not terminal", err)
	}
}

func TestBrokenConnectionIsRetried(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]cloudsqltest.Fault{
		"reset at the start":   {ResetAt: cloudsqltest.AtStart},
		"reset in the headers": {ResetAt: cloudsqltest.InHeaders},
		"reset in the body":    {ResetAt: cloudsqltest.InBody},
		"EOF at the start":     {CutAt: cloudsqltest.AtStart},
		"EOF in the headers":   {CutAt: cloudsqltest.InHeaders},
		"EOF in the body":      {CutAt: cloudsqltest.InBody},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachHalf(t, func(t *testing.T, h half) {
				s := cloudsqltest.NewMemoryServer()
				defer s.Close()
				s.AllowAnyKey = true
				var broken atomic.Bool
				s.OnRequest = func(r *http.Request) *cloudsqltest.Fault {
					if callOf(r) != string(h) || broken.Swap(true) {
						return nil
					}
					return &fault
				}
				s.AddInstance("my-project:us-central1:my-db", cloudsqltest.Instance{})
				// Only a Dialer is let into the network in memory.
				d, err := cloudsqlconn.NewDialer(t.Context(), append(s.Options(), cloudsqlconn.WithPrivateKey(clientKey))...)
				if err != nil {
					t.Fatal(err)
				}
				defer d.Close()
				began := time.Now()
				if err := d.Warmup(t.Context(), "my-project:us-central1:my-db"); err != nil {
					t.Fatal(err)
				}
				// The kit waits for 5 ms before it resets the middle of an answer.
				if took := time.Since(began); took > 300*time.Millisecond+5*time.Millisecond {
					t.Errorf("took %v: more than the first pause", took)
				}
				calls := map[string]int{}
				for _, r := range s.Requests() {
					calls[r.Call]++
				}
				if calls[string(h)] != 2 || calls[string(h.other())] != 1 {
					t.Errorf("calls are %v", calls)
				}
			})
		})
	}
}

func TestResumedConnectionsAreVerifiedToo(t *testing.T) {
	t.Parallel()
	s := cloudsqltest.NewServer()
	t.Cleanup(s.Close)
	p := s.AddInstance("my-project:us-central1:my-db", cloudsqltest.Instance{})
	s.AddInstance("my-project:us-central1:other-db", cloudsqltest.Instance{})
	c := kitClient(t, s)
	config := func(id string) *tls.Config {
		info, _, err := c.Fetch(t.Context(), admin.Instance{Project: "my-project", Region: "us-central1", ID: id}, false)
		if err != nil {
			t.Fatal(err)
		}
		return info.TLS("", false).Clone()
	}
	cfg := config("my-db")
	verify := cfg.VerifyConnection
	var resumed []bool // one for each verification
	cfg.VerifyConnection = func(cs tls.ConnectionState) error {
		resumed = append(resumed, cs.DidResume)
		return verify(cs)
	}
	for range 2 {
		if err := ping(p.Addr(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	verify = config("other-db").VerifyConnection
	var unverified *tlsverify.Error
	if err := ping(p.Addr(), cfg); !errors.As(err, &unverified) {
		t.Errorf("a resumed connection to the wrong instance: error is %v", err)
	}
	if want := []bool{false, true, true}; !slices.Equal(resumed, want) {
		t.Errorf("verified connections that resumed: %v, want %v", resumed, want)
	}
}

// ping has some bytes echoed, which brings a session ticket along.
func ping(addr net.Addr, cfg *tls.Config) error {
	raw, err := net.Dial(addr.Network(), addr.String())
	if err != nil {
		return err
	}
	conn := tls.Client(raw, cfg)
	defer conn.Close()
	if _, err := conn.Write([]byte("ping")); err != nil {
		return err
	}
	_, err = io.ReadFull(conn, make([]byte, 4))
	return err
}

func TestFetchEndsWithItsContextOverTheNetwork(t *testing.T) {
	t.Parallel()
	s := cloudsqltest.NewServer()
	t.Cleanup(s.Close)
	arrived := make(chan struct{}, 2)
	s.OnRequest = func(*http.Request) *cloudsqltest.Fault {
		arrived <- struct{}{}
		return &cloudsqltest.Fault{Hang: true}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		<-arrived
		<-arrived
		cancel()
	})
	err := fetchError(ctx, t, kitClient(t, s), false)
	wg.Wait()
	if !errors.Is(err, context.Canceled) || admin.Terminal(err) {
		t.Errorf("error is %v", err)
	}
}
