package faults_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// tokenFunc is a token source.
type tokenFunc func() (*oauth2.Token, error)

func (f tokenFunc) Token() (*oauth2.Token, error) { return f() }

// lasting returns a source of the server's tokens with this life; zero means
// without expiry.
func lasting(token string, life time.Duration) oauth2.TokenSource {
	return tokenFunc(func() (*oauth2.Token, error) {
		tok := &oauth2.Token{AccessToken: token}
		if life > 0 {
			tok.Expiry = time.Now().Add(life)
		}
		return tok, nil
	})
}

// withLogin replaces the dialer by one whose login tokens come from ts.
func (w *world) withLogin(ts oauth2.TokenSource, opts ...cloudsqlconn.Option) {
	w.t.Helper()
	_ = w.dialer.Close()
	w.dialer = w.newDialer(append(opts, cloudsqlconn.WithIAMAuthNTokenSources(lasting(w.Token(), 0), ts), cloudsqlconn.WithIAMAuthN(true))...)
}

// F25
func TestLoginTokensOfEveryLife(t *testing.T) {
	for _, tt := range []struct {
		name  string
		life  time.Duration
		every time.Duration // between Dials
		most  int           // refreshes in 24 hours
	}{
		{"without expiry", 0, time.Minute, 55}, // at half of 59 minutes, less a tenth at random
		{"5 minutes", 5 * time.Minute, 10 * time.Second, 400},
		{"10 seconds", 10 * time.Second, 10 * time.Minute, 289},
	} {
		for strategy, opts := range map[string][]cloudsqlconn.Option{"ahead": nil, "lazy": {lazy}} {
			t.Run(tt.name+"/"+strategy, func(t *testing.T) {
				inWorld(t, cloudsqltest.Instance{Handler: func(net.Conn) {}}, func(t *testing.T, w *world) {
					w.withLogin(lasting(w.LoginToken(), tt.life), opts...)
					for end := time.Now().Add(24 * time.Hour); time.Now().Before(end); time.Sleep(tt.every) {
						if err := w.dialer.Warmup(t.Context(), testInstance); err != nil {
							t.Fatal(err)
						}
					}
					if n := w.calls() / 2; n > tt.most || n < 24 {
						t.Errorf("%d refreshes in 24 hours, want 24 to %d", n, tt.most)
					}
				})
			})
		}
	}
}

// F25
func TestNoDialIsBlockedByAShortLoginToken(t *testing.T) {
	bothStrategies(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		w.withLogin(lasting(w.LoginToken(), 5*time.Minute))
		w.wantDial()
		w.fault.Store(&cloudsqltest.Fault{Delay: time.Second}) // blocked Dials would be seen
		for range 300 {
			if d := took(func() { w.wantDial() }); d > 0 {
				t.Fatalf("Dial took %v", d)
			}
			time.Sleep(10 * time.Second)
		}
		w.wantFaults()
	})
}

// F13, F25
func TestATokenSourceThatFailsOnceIsAskedAgain(t *testing.T) {
	failures := map[string]error{
		"unknown error":       errors.New("connection reset"),
		"token endpoint: 500": &oauth2.RetrieveError{Response: response(500)},
		"token endpoint: 429": &oauth2.RetrieveError{Response: response(429)},
	}
	for name, failure := range failures {
		t.Run(name, func(t *testing.T) {
			inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
				var asked atomic.Int64
				once := func(token string) oauth2.TokenSource {
					var failed atomic.Bool
					return tokenFunc(func() (*oauth2.Token, error) {
						asked.Add(1)
						if !failed.Swap(true) {
							return nil, failure
						}
						return &oauth2.Token{AccessToken: token}, nil
					})
				}
				d := w.newDialer(cloudsqlconn.WithIAMAuthNTokenSources(once(w.Token()), once(w.LoginToken())), cloudsqlconn.WithIAMAuthN(true))
				defer d.Close()
				c, err := d.Dial(t.Context(), testInstance)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if asked.Load() < 4 {
					t.Error("the fault did not happen")
				}
			})
		})
	}
}

func TestRefusedTokensAreTerminal(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		_ = w.dialer.Close()
		w.dialer = w.newDialer(cloudsqlconn.WithIAMAuthNTokenSources(tokenFunc(func() (*oauth2.Token, error) {
			return nil, &oauth2.RetrieveError{Response: response(400), ErrorCode: "invalid_grant"}
		}), lasting(w.LoginToken(), 0)))
		var e *cloudsqlconn.Error
		if d := took(func() { e = w.wantError(cloudsqlconn.ErrPermission, time.Minute) }); d > 0 || e.Hint == "" {
			t.Errorf("took %v, hint %q", d, e.Hint)
		}
	})
}

// F27
func TestPasswordAndIAMDialsDoNotDisturbEachOther(t *testing.T) {
	bothStrategies(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		for range 50 {
			w.wantDial()
			w.wantDial(cloudsqlconn.WithIAMAuthN(true))
		}
		w.wantCalls(4)
		if n := len(w.dialer.Instances()); n != 2 {
			t.Errorf("%d entries in Instances, want 2", n)
		}
	})
}

func TestOnlyIAMDialsCarryALoginToken(t *testing.T) {
	tokens := make(chan string, 1)
	handler := func(c net.Conn) {
		tokens <- c.(*cloudsqltest.Conn).Token()
	}
	inWorld(t, cloudsqltest.Instance{Handler: handler}, func(t *testing.T, w *world) {
		for _, iam := range []bool{false, true, false} {
			c, err := w.dialer.Dial(t.Context(), testInstance, cloudsqlconn.WithIAMAuthN(iam))
			if err != nil {
				t.Fatal(err)
			}
			want := ""
			if iam {
				want = w.LoginToken()
			}
			if got := <-tokens; got != want {
				t.Errorf("IAM %v: the certificate carries token %q, want %q", iam, got, want)
			}
			_ = c.Close()
		}
		for _, r := range w.Requests() {
			if r.Call != cloudsqltest.GenerateEphemeralCert {
				continue
			}
			var body map[string]any
			if err := json.Unmarshal(r.Body, &body); err != nil {
				t.Fatal(err)
			}
			if tok, ok := body["access_token"]; ok && tok != w.LoginToken() {
				t.Errorf("a request carries access_token %q", tok)
			}
		}
	})
}

func TestIAMWithoutALoginTokenSourceIsAnError(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		ts := lasting(w.Token(), 0)
		// The kit's options set both sources: begin without them.
		_, err := cloudsqlconn.NewDialer(t.Context(), cloudsqlconn.WithTokenSource(ts), cloudsqlconn.WithIAMAuthN(true))
		if !errors.Is(err, cloudsqlconn.ErrConfig) {
			t.Errorf("NewDialer: got %v, want ErrConfig", err)
		}
		d, err := cloudsqlconn.NewDialer(t.Context(), cloudsqlconn.WithTokenSource(ts), cloudsqlconn.WithAdminAPIEndpoint(w.URL()))
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if _, err := d.Dial(t.Context(), testInstance, cloudsqlconn.WithIAMAuthN(true)); !errors.Is(err, cloudsqlconn.ErrConfig) {
			t.Errorf("Dial: got %v, want ErrConfig", err)
		}
		w.wantCalls(0)
	})
}

func TestIAMLoginToSQLServerIsAnError(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{DatabaseVersion: "SQLSERVER_2022_STANDARD"}, func(t *testing.T, w *world) {
		w.wantError(cloudsqlconn.ErrConfig, time.Second, cloudsqlconn.WithIAMAuthN(true))
		w.wantDial()
	})
}

// F35
func TestNewDialerNeedsNoCredentialsAndNoNetwork(t *testing.T) {
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "/does/not/exist.json")
	d, err := cloudsqlconn.NewDialer(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	_, err = d.Dial(t.Context(), testInstance)
	var e *cloudsqlconn.Error
	if !errors.As(err, &e) || !errors.Is(err, cloudsqlconn.ErrPermission) || e.Hint == "" {
		t.Errorf("Dial: got %v, want ErrPermission with a hint", err)
	}
}
