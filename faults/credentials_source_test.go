package faults_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/authtest"
)

// ownSource is a token source of a program's. It counts how often it is asked.
type ownSource struct {
	asked atomic.Int64
	right string // the token that it should give
	give  func(asked int64) (*oauth2.Token, error)
}

func (s *ownSource) Token() (*oauth2.Token, error) { return s.give(s.asked.Add(1)) }

// withSources runs a test for each place where a program can put a source of its
// own. It gives tok(the right token); dial is a Dial that needs it.
func withSources(t *testing.T, tok func(right string) *oauth2.Token, test func(t *testing.T, w *world, own *ownSource, dial func(ctx context.Context, instance string) error)) {
	t.Helper()
	s := authtest.NewServer("admin", "login") // outside the bubble: it listens
	t.Cleanup(s.Close)
	for name, tt := range map[string]struct {
		token func(w *world) string
		opts  func(w *world, own *ownSource) options
		iam   bool
	}{
		"API": {func(w *world) string { return w.Token() }, func(_ *world, own *ownSource) options {
			return options{cloudsqlconn.WithTokenSource(own)}
		}, false},
		"login": {func(w *world) string { return w.LoginToken() }, func(w *world, own *ownSource) options {
			return options{cloudsqlconn.WithIAMAuthNTokenSources(tokens(w.Token()), own)}
		}, true},
		"impersonation": {func(*world) string { return authtest.CloudToken }, func(_ *world, own *ownSource) options {
			return options{cloudsqlconn.WithTokenSource(own), cloudsqlconn.WithImpersonation(target)}
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			inQuietWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
				s.Tokens = tokensOf(w.Token(), w.LoginToken())
				right := tt.token(w)
				own := &ownSource{right: right, give: func(int64) (*oauth2.Token, error) { return tok(right), nil }}
				only(w, s.InProcess().Transport, tt.opts(w, own)...)
				test(t, w, own, func(ctx context.Context, instance string) error {
					c, err := w.dialer.Dial(ctx, instance, cloudsqlconn.WithIAMAuthN(tt.iam))
					if err == nil {
						_ = c.Close()
					}
					return err
				})
			})
		})
	}
}

func good(right string) *oauth2.Token { return &oauth2.Token{AccessToken: right} }

// unusable are the tokens that no server takes.
var unusable = map[string]func(right string) *oauth2.Token{
	"nil":   func(string) *oauth2.Token { return nil },
	"empty": func(string) *oauth2.Token { return new(oauth2.Token) },
	"expired": func(right string) *oauth2.Token {
		return &oauth2.Token{AccessToken: right, Expiry: time.Now().Add(-time.Minute)}
	},
}

// A token source that returned an empty or an expired token held each Dial for
// its whole 30 s, and was asked 5 to 24 times in that; an expired token for the
// Admin API was sent to it. Issue 13, 6; the same was seen with the proxy's
// --token and --login-token: GoogleCloudPlatform/cloud-sql-proxy#2224.
func TestASourceOfUselessTokensIsToldAtOnce(t *testing.T) {
	for name, tok := range unusable {
		t.Run(name, func(t *testing.T) {
			withSources(t, tok, func(t *testing.T, w *world, own *ownSource, dial func(context.Context, string) error) {
				var err error
				if took := took(func() { err = dial(t.Context(), testInstance) }); took > 0 {
					t.Errorf("Dial took %v", took)
				}
				if n := own.asked.Load(); n != 2 {
					t.Errorf("the source was asked %d times, want 2", n)
				}
				if !errors.Is(err, cloudsqlconn.ErrPermission) || !strings.Contains(err.Error(), "the token source returned") || !strings.Contains(cloudsqlconn.Hint(err), "Fix the token source") {
					t.Errorf("got %v, hint %q", err, cloudsqlconn.Hint(err))
				}
				for _, r := range w.Requests() {
					if r.Status >= 400 {
						t.Errorf("%s was sent with a token that is no good: %d", r.Call, r.Status)
					}
				}
			})
		})
	}
}

func TestASourceOfUselessTokensIsAskedEveryFiveSecondsUntilItIsRepaired(t *testing.T) {
	for name, tok := range unusable {
		t.Run(name, func(t *testing.T) {
			withSources(t, tok, func(t *testing.T, w *world, own *ownSource, dial func(context.Context, string) error) {
				w.AddInstance(secondInstance, cloudsqltest.Instance{})
				w.AddInstance(otherInstance, cloudsqltest.Instance{})
				const minutes = 1
				for range minutes * 120 {
					for _, instance := range []string{testInstance, secondInstance, otherInstance} {
						if dial(t.Context(), instance) == nil {
							t.Fatal("Dial succeeded")
						}
					}
					time.Sleep(500 * time.Millisecond)
				}
				if n := own.asked.Load(); n < 3 || n > 1+minutes*12 {
					t.Errorf("the source was asked %d times in %d minutes", n, minutes)
				}
				own.give = func(int64) (*oauth2.Token, error) { return good(own.right), nil }
				began := time.Now()
				for dial(t.Context(), testInstance) != nil && time.Since(began) < time.Minute {
					time.Sleep(time.Second)
				}
				if took := time.Since(began); took > 35*time.Second {
					t.Errorf("a source that was repaired was noticed after %v", took)
				}
			})
		})
	}
}

// A token can expire on its way to the Dialer: that is no fault of the source.
func TestAnExpiredTokenIsForgivenOnce(t *testing.T) {
	for name, tok := range unusable {
		t.Run(name, func(t *testing.T) {
			withSources(t, good, func(t *testing.T, _ *world, own *ownSource, dial func(context.Context, string) error) {
				give := own.give
				own.give = func(asked int64) (*oauth2.Token, error) {
					if asked > 1 {
						return give(asked)
					}
					return tok(own.right), nil
				}
				var err error
				if took := took(func() { err = dial(t.Context(), testInstance) }); took > 0 || err != nil {
					t.Errorf("Dial: %v after %v", err, took)
				}
				if own.asked.Load() < 2 {
					t.Error("the fault did not happen")
				}
			})
		})
	}
}

// A source of the caller's that hangs keeps nobody: not a Dial whose context
// ends, and not Close. It was so with WithTokenSource, but not with
// WithImpersonation on top of it. Issue 13, 9b.
func TestASourceThatHangsHoldsNeitherDialNorClose(t *testing.T) {
	withSources(t, good, func(t *testing.T, w *world, own *ownSource, dial func(context.Context, string) error) {
		release := make(chan struct{})
		defer close(release)
		own.give = func(int64) (*oauth2.Token, error) {
			<-release
			return nil, nil
		}
		const patience = 300 * time.Millisecond
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		var err error
		if took := took(func() { err = dial(ctx, testInstance) }); took > patience || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a Dial with %v took %v: %v", patience, took, err)
		}
		failed := make(chan error, 1)
		go func() { failed <- dial(t.Context(), testInstance) }()
		synctest.Wait()
		if took := took(func() { _ = w.dialer.Close() }); took > 0 {
			t.Errorf("Close took %v", took)
		}
		if err := <-failed; !errors.Is(err, cloudsqlconn.ErrDialerClosed) {
			t.Errorf("Dial: got %v, want ErrDialerClosed", err)
		}
		if n := own.asked.Load(); n != 1 {
			t.Errorf("the source was asked %d times", n)
		}
	})
}
