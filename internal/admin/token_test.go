package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"cloud.google.com/go/compute/metadata"
	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/auth"
)

func TestLoginTokenIsSentForIAMOnly(t *testing.T) {
	t.Parallel()
	for _, iam := range []bool{false, true} {
		a := &api{}
		var asked atomic.Int32
		c := newClient(t, a, withLogin(func() (*oauth2.Token, error) {
			asked.Add(1)
			return &oauth2.Token{AccessToken: loginToken}, nil
		}))
		if _, _, err := c.Fetch(t.Context(), instance, iam); err != nil {
			t.Fatal(err)
		}
		var body map[string]any
		if err := json.Unmarshal(a.received(ephemeralCert)[0].body, &body); err != nil {
			t.Fatal(err)
		}
		got, sent := body["access_token"]
		if sent != iam || iam && got != loginToken {
			t.Errorf("IAM %v: access_token is %v, sent %v", iam, got, sent)
		}
		if n := asked.Load(); iam && n != 1 || !iam && n != 0 {
			t.Errorf("IAM %v: login token asked for %d times", iam, n)
		}
	}
}

func TestIAMWithoutLoginTokenSource(t *testing.T) {
	t.Parallel()
	a := &api{}
	c := newClient(t, a, func(cfg *admin.Config) { cfg.Login = nil })
	err := fetchError(t.Context(), t, c, true)
	wantText(t, err, "sqlservice.login", "WithIAMAuthNTokenSources")
	var cfg *admin.ConfigError
	if !errors.As(err, &cfg) || !admin.Terminal(err) {
		t.Errorf("%v is no terminal ConfigError", err)
	}
	a.wantCalls(t, 0, 0)
}

func TestExpiryIsTheEarlierOfCertificateAndLoginToken(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		iam   bool
		token time.Duration // its life; 0: without expiry
		want  time.Duration
	}{
		{"token ends first", true, 10 * time.Minute, 10 * time.Minute},
		{"certificate ends first", true, 2 * time.Hour, time.Hour},
		{"both at once", true, time.Hour, time.Hour},
		{"token has seconds left", true, 10 * time.Second, 10 * time.Second},
		{"token without expiry", true, 0, time.Hour},
		{"password login", false, 10 * time.Minute, time.Hour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				tok := &oauth2.Token{AccessToken: loginToken}
				if tt.token > 0 {
					tok.Expiry = time.Now().Add(tt.token)
				}
				c := newClient(t, &api{}, func(cfg *admin.Config) { cfg.Login = static(tok) })
				_, expiry, err := c.Fetch(t.Context(), instance, tt.iam)
				if err != nil {
					t.Fatal(err)
				}
				if got := time.Until(expiry); got != tt.want {
					t.Errorf("expires after %v, want %v", got, tt.want)
				}
			})
		})
	}
}

func TestUnusableTokens(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		tok  *oauth2.Token
		want string
	}{
		{"nil", nil, "access token: the token source returned an empty token"},
		{"empty", &oauth2.Token{}, "access token: the token source returned an empty token"},
		{"expired", &oauth2.Token{AccessToken: loginToken, Expiry: time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)},
			"access token: the token source returned a login token that expired at 2000-01-01T00:00:00Z"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := &api{}
				c := newClient(t, a, func(cfg *admin.Config) { cfg.Login = static(tt.tok) })
				err := fetchError(t.Context(), t, c, true)
				if err.Error() != tt.want {
					t.Errorf("error is %q, want %q", err, tt.want)
				}
				var token *admin.TokenError
				if !errors.As(err, &token) {
					t.Errorf("%v is no TokenError", err)
				}
				if n := len(a.received(ephemeralCert)); n > 0 {
					t.Errorf("%d calls for a certificate without a login token", n)
				}
			})
		})
	}
}

func TestNoCallWithoutAPIToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &api{}
		c := newClient(t, a, withAPI(func() (*oauth2.Token, error) { return nil, nil }))
		wantText(t, fetchError(t.Context(), t, c, false), "access token: the token source returned an empty token")
		a.wantCalls(t, 0, 0)
	})
}

func TestSilentTokenSourceHoldsNobody(t *testing.T) {
	t.Parallel()
	for name, use := range map[string]func(tokenFunc) func(*admin.Config){"API": withAPI, "login": withLogin} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				defer close(release)
				c := newClient(t, &api{}, use(func() (*oauth2.Token, error) {
					<-release
					return nil, nil
				}))
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				began := time.Now()
				err := fetchError(ctx, t, c, true)
				if took := time.Since(began); took != 5*time.Second {
					t.Errorf("Fetch took %v", took)
				}
				var token *admin.TokenError
				if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &token) {
					t.Errorf("error is %v", err)
				}
				if admin.Terminal(err) {
					t.Errorf("%v is terminal", err)
				}
			})
		})
	}
}

func TestSilentTokenSourceIsAskedOnce(t *testing.T) {
	t.Parallel()
	for name, use := range map[string]func(tokenFunc) func(*admin.Config){"API": withAPI, "login": withLogin} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var asked atomic.Int32
				release := make(chan struct{})
				c := newClient(t, &api{}, use(func() (*oauth2.Token, error) {
					asked.Add(1)
					<-release
					return &oauth2.Token{AccessToken: loginToken}, nil
				}))
				for range 10 {
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					began := time.Now()
					_ = fetchError(ctx, t, c, true)
					cancel()
					if took := time.Since(began); took != time.Minute {
						t.Errorf("Fetch took %v", took)
					}
				}
				var wg sync.WaitGroup
				for range 10 {
					wg.Go(func() {
						if _, _, err := c.Fetch(t.Context(), instance, true); err != nil {
							t.Error(err)
						}
					})
				}
				time.Sleep(30 * time.Second) // some are in their second try
				if n := asked.Load(); n != 1 {
					t.Errorf("asked %d times while it was silent", n)
				}
				close(release)
				wg.Wait()
				before := asked.Load()
				if _, _, err := c.Fetch(t.Context(), instance, true); err != nil || asked.Load() == before {
					t.Errorf("asked %d times after it had answered, error %v", asked.Load()-before, err)
				}
			})
		})
	}
}

// As t.FailNow does in a user's test.
func TestTokenSourceThatEndsItsGoroutine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, &api{}, withAPI(func() (*oauth2.Token, error) {
			runtime.Goexit()
			return nil, nil
		}))
		wantText(t, fetchError(t.Context(), t, c, false), "empty token")
	})
}

func retrieveError(code int, header ...string) *oauth2.RetrieveError {
	resp, _ := status(code, "", header...)(nil)
	return &oauth2.RetrieveError{Response: resp, Body: []byte("{\n  \"error\": \"internal_failure\"\n}\n")}
}

// failingFirst is a token source that fails so often with err, then works.
func failingFirst(n int, err error, token string) tokenFunc {
	tokens := make(chan error, n)
	for range n {
		tokens <- err
	}
	return func() (*oauth2.Token, error) {
		select {
		case err := <-tokens:
			return nil, err
		default:
			return &oauth2.Token{AccessToken: token}, nil
		}
	}
}

func TestTransientTokenFailureIsRetried(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"token endpoint 500":  retrieveError(500),
		"token endpoint 503":  retrieveError(503),
		"metadata server 500": &metadata.Error{Code: 500, Message: "a page\nof text"},
		"token exchange 500":  &auth.RefusedError{Step: auth.Federation, Code: 500, Err: syscall.EIO},
		"no network":          syscall.ENETUNREACH,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := &api{}
				c := newClient(t, a, withAPI(failingFirst(1, err, apiToken)), withLogin(failingFirst(1, err, loginToken)))
				if _, _, err := c.Fetch(t.Context(), instance, true); err != nil {
					t.Error(err)
				}
				a.wantCalls(t, 1, 1)
			})
		})
	}
}

func TestRefusedTokenIsNotRetried(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		err        error
		retryAfter time.Duration // 0: terminal
	}{
		"token endpoint 400":                  {retrieveError(400), 0},
		"token endpoint 401":                  {&oauth2.RetrieveError{Response: &http.Response{StatusCode: 401}, ErrorCode: "invalid_grant"}, 0},
		"metadata server 404":                 {&metadata.Error{Code: 404}, 0},
		"no service account":                  {metadata.NotDefinedError("instance/service-accounts/default/token"), 0},
		"token endpoint 429":                  {retrieveError(429), 5 * time.Second},
		"token endpoint 429 with Retry-After": {retrieveError(429, "Retry-After", "12"), 12 * time.Second},
		"token endpoint 503 with Retry-After": {retrieveError(503, "Retry-After", "12"), 12 * time.Second},
		"metadata server 429":                 {&metadata.Error{Code: 429}, 5 * time.Second},
		"no credentials":                      {&auth.NotFoundError{Err: syscall.ENOENT}, 0},
		"credentials do not fit":              {&auth.ConfigError{Problem: "another universe"}, 0},
		"impersonation 403":                   {&auth.RefusedError{Step: auth.Impersonation, Code: 403, Err: syscall.EPERM}, 0},
		"token exchange 429":                  {&auth.RefusedError{Step: auth.Federation, Code: 429, Err: syscall.EAGAIN}, 5 * time.Second},
		"token exchange 503 with Retry-After": {&auth.RefusedError{Step: auth.Federation, Code: 503, Header: http.Header{"Retry-After": {"12"}}, Err: syscall.EAGAIN}, 12 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := &api{settings: hangs}
				asked := 0
				c := newClient(t, a, withLogin(func() (*oauth2.Token, error) {
					asked++
					return nil, tt.err
				}))
				began := time.Now()
				err := fetchError(t.Context(), t, c, true)
				if took := time.Since(began); asked != 1 || took != 0 {
					t.Errorf("asked %d times within %v", asked, took)
				}
				if !errors.Is(err, tt.err) {
					t.Errorf("%v does not wrap its cause", err)
				}
				if got := admin.RetryAfter(err, time.Now()); got != tt.retryAfter || admin.Terminal(err) != (got == 0) {
					t.Errorf("%v: retry after %v, terminal %v", err, got, admin.Terminal(err))
				}
			})
		})
	}
}

// refusedSource cannot get a token, and counts how often it is told that one was
// refused.
type refusedSource struct{ replaced atomic.Int32 }

func (s *refusedSource) Token() (*oauth2.Token, error) {
	return nil, &auth.RefusedError{Step: auth.AccountKey, Code: http.StatusUnauthorized}
}

func (s *refusedSource) Replace(string) bool {
	s.replaced.Add(1)
	return true
}

// A 401 on the way to a token is not about a token of the source's.
func TestATokenThatCannotBeHadIsNotReplaced(t *testing.T) {
	t.Parallel()
	a, source := &api{}, &refusedSource{}
	c := newClient(t, a, func(cfg *admin.Config) { cfg.API = source })
	if err := fetchError(t.Context(), t, c, false); !admin.Terminal(err) {
		t.Errorf("%v is not terminal", err)
	}
	a.wantCalls(t, 0, 0)
	if n := source.replaced.Load(); n != 0 {
		t.Errorf("the source was told %d times that its token was refused", n)
	}
}

// A source that failed and then hung: the error told of the time that was over,
// and not of what had been wrong before. Issue 13, 7.
func TestASourceThatFallsSilentIsToldWithItsLastFailure(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		failure error
		found   bool // in the chain; a refusal is in the text only, lest it be taken for one of now
	}{
		"out of order": {retrieveError(503), true},
		"no network":   {syscall.ENETUNREACH, true},
		"refused":      {retrieveError(400), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				defer close(release)
				var asked atomic.Int32
				c := newClient(t, &api{}, withAPI(func() (*oauth2.Token, error) {
					if asked.Add(1) == 1 {
						return nil, tt.failure
					}
					<-release
					return nil, nil
				}))
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				_, err := c.Token(ctx)
				if asked.Load() == 1 { // a refusal ends the first call
					_, err = c.Token(ctx)
				}
				if asked.Load() != 2 || !errors.Is(err, context.DeadlineExceeded) {
					t.Fatalf("the fault did not happen: asked %d times, %v", asked.Load(), err)
				}
				if got := errors.Is(err, tt.failure); got != tt.found {
					t.Errorf("the last failure is in the chain: %v", got)
				}
				wantText(t, err, "last error: ")
				if admin.Terminal(err) {
					t.Errorf("%v is terminal", err)
				}
			})
		})
	}
}
