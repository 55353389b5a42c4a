package faults_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/authtest"
)

const secondInstance = "my-project:europe-west1:second-db"

// withFile runs a test on fake time, with a Dialer whose credentials are in a
// file, and two instances that tell which login tokens they see.
func withFile(t *testing.T, content func(*authtest.Server) []byte, test func(t *testing.T, w *world, s *authtest.Server, name string, seen chan string)) {
	t.Helper()
	s := authtest.NewServer("admin", "login") // outside the bubble: it listens
	t.Cleanup(s.Close)
	name := file(t, t.TempDir()+"/credentials.json", content(s))
	var seen chan string
	inWorld(t, cloudsqltest.Instance{Handler: func(c net.Conn) { tellToken(seen)(c) }}, func(t *testing.T, w *world) {
		_ = w.dialer.Close()
		seen = make(chan string, 1000)
		w.AddInstance(secondInstance, cloudsqltest.Instance{Handler: tellToken(seen)})
		s.Tokens = tokensOf(w.Token(), w.LoginToken())
		d, err := cloudsqlconn.NewDialer(t.Context(), w.told.options(),
			cloudsqlconn.WithAdminAPIEndpoint(w.URL()), cloudsqlconn.WithDialFunc(w.DialContext), cloudsqlconn.WithCredentialsFile(name),
			cloudsqlconn.WithHTTPClient(&http.Client{Transport: route{w.Client().Transport, s.InProcess().Transport}}))
		if err != nil {
			t.Fatal(err)
		}
		w.dialer = d
		test(t, w, s, name, seen)
	})
}

// tellToken echoes, and tells the login token of each connection.
func tellToken(seen chan string) func(net.Conn) {
	return func(c net.Conn) {
		seen <- c.(*cloudsqltest.Conn).Token()
		_, _ = io.Copy(c, c)
	}
}

// silence is a network on which nothing is answered.
type silence struct{ waiting atomic.Int64 } // requests

func (s *silence) RoundTrip(req *http.Request) (*http.Response, error) {
	s.waiting.Add(1)
	defer s.waiting.Add(-1)
	<-req.Context().Done()
	return nil, req.Context().Err()
}

// tokensOf are the tokens that an authtest.Server gives, by scope.
func tokensOf(admin, login string) map[string]string {
	return map[string]string{"": admin, authtest.AdminScope: admin, authtest.LoginScope: login, authtest.CloudScope: authtest.CloudToken}
}

// loginAs connects to an instance with IAM login at once, and returns the token
// in the certificate.
func loginAs(t *testing.T, w *world, instance string, seen chan string) string {
	t.Helper()
	token, _ := logsInAs(t, w, instance, seen)
	return token
}

// logsInAs is loginAs. It returns the account, too, that the connection says it logs in as.
func logsInAs(t *testing.T, w *world, instance string, seen chan string) (token, principal string) {
	t.Helper()
	began := time.Now()
	c, err := w.dialer.Dial(t.Context(), instance, cloudsqlconn.WithIAMAuthN(true))
	if err != nil {
		t.Fatalf("Dial: %v", err)
	}
	defer c.Close()
	if took := time.Since(began); took > 0 {
		t.Errorf("Dial took %v", took)
	}
	info, _ := cloudsqlconn.InfoOf(c)
	principal, err = info.LoginPrincipal(t.Context())
	if err != nil {
		t.Errorf("LoginPrincipal: %v", err)
	}
	return <-seen, principal
}

// Both tokens of a service account were revoked while its key was still good.
// Password login went on, IAM login failed for 28 minutes: only a token of the
// Admin API's was replaced when it was refused. So it was with a login token
// that alone was revoked. Issue 13, 9a.
func TestARevokedLoginTokenIsReplacedAtOnce(t *testing.T) {
	for name, tt := range map[string]struct{ admin, login string }{
		"both tokens":     {"the second admin token", "the second login token"},
		"the login token": {"", "the second login token"},
	} {
		t.Run(name, func(t *testing.T) {
			withFile(t, (*authtest.Server).ServiceAccount, func(t *testing.T, w *world, s *authtest.Server, _ string, seen chan string) {
				if got := loginAs(t, w, testInstance, seen); got != w.LoginToken() {
					t.Fatalf("the certificate carries %q", got)
				}
				time.Sleep(2 * time.Minute)
				w.SetTokens(tt.admin, tt.login)
				s.Tokens = tokensOf(w.Token(), w.LoginToken())
				before := w.calls()
				if got := loginAs(t, w, secondInstance, seen); got != tt.login {
					t.Errorf("the certificate carries %q, want %q", got, tt.login)
				}
				refused := 0
				for _, r := range w.Requests()[before:] {
					if r.Status >= 400 {
						refused++
					}
				}
				if refused == 0 {
					t.Error("the fault did not happen: nothing was refused")
				}
				// The certificate of the other instance has the revoked token in it.
				_ = loginAs(t, w, testInstance, seen)
				synctest.Wait()
				if got := loginAs(t, w, testInstance, seen); got != tt.login {
					t.Errorf("the other instance's certificate carries %q, want %q", got, tt.login)
				}
			})
		})
	}
}

// A refused login token is replaced once, as one of the Admin API's is: a
// stopped instance is refused in the same way.
func TestACertificateThatIsAlwaysRefusedBringsNoFloodOfTokens(t *testing.T) {
	withFile(t, (*authtest.Server).ServiceAccount, func(t *testing.T, w *world, s *authtest.Server, _ string, seen chan string) {
		loginAs(t, w, testInstance, seen)
		time.Sleep(2 * time.Minute)
		w.OnRequest = func(r *http.Request) *cloudsqltest.Fault {
			if r.Method != http.MethodPost {
				return nil
			}
			w.faults.Add(1)
			return &cloudsqltest.Fault{Status: http.StatusBadRequest}
		}
		before := len(s.Calls())
		for range 300 { // in half a minute
			if c, err := w.dialer.Dial(t.Context(), secondInstance, cloudsqlconn.WithIAMAuthN(true)); err == nil {
				_ = c.Close()
				t.Fatal("Dial succeeded")
			}
			time.Sleep(100 * time.Millisecond)
		}
		w.wantFaults()
		if n := len(s.Calls()) - before; n != 2 {
			t.Errorf("%d tokens were asked for, want 2", n)
		}
		if n := w.faults.Load(); n > 6 {
			t.Errorf("%d certificates were asked for, want 6 at the most", n)
		}
	})
}

// The credentials file was replaced by one of another account, and the API
// refused the first one's token: IAMPrincipal named the new account, while the
// new certificate logged in as the old one, by a login token that was kept.
// Issue 13, 9a.
func TestAfterAChangeOfCredentialsTheCertificateIsOfTheAccountThatIsNamed(t *testing.T) {
	const (
		first, second            = "first@my-project.iam.gserviceaccount.com", "second@my-project.iam.gserviceaccount.com"
		secondAdmin, secondLogin = "the second admin token", "the second login token"
	)
	account := func(email string) func(s *authtest.Server) []byte {
		return func(s *authtest.Server) []byte { return s.Impersonated(email, s.User()) }
	}
	withFile(t, account(first), func(t *testing.T, w *world, s *authtest.Server, name string, seen chan string) {
		w.Principals = map[string]string{secondAdmin: second, secondLogin: second}
		wantCredentials := func(want string) {
			t.Helper()
			if got, err := w.dialer.IAMPrincipal(t.Context()); got != want || err != nil {
				t.Errorf("IAMPrincipal: %q, %v, want %q", got, err, want)
			}
		}
		wantLogin := func(instance, token, principal string) {
			t.Helper()
			if got, who := logsInAs(t, w, instance, seen); got != token || who != principal {
				t.Errorf("%s: the certificate logs in with %q, and the connection as %q, want %q and %q", instance, got, who, token, principal)
			}
		}
		wantLogin(testInstance, w.LoginToken(), first)
		wantCredentials(first)
		time.Sleep(2 * time.Minute)
		file(t, name, account(second)(s))
		old := "Bearer " + w.Token()
		s.Tokens = tokensOf(secondAdmin, secondLogin)
		w.OnRequest = func(r *http.Request) *cloudsqltest.Fault {
			if r.Header.Get("Authorization") != old {
				return nil
			}
			w.faults.Add(1)
			return &cloudsqltest.Fault{Status: http.StatusUnauthorized}
		}
		const third = "my-project:europe-west1:third-db"
		w.AddInstance(third, cloudsqltest.Instance{Handler: tellToken(seen)})
		wantLogin(third, secondLogin, second)
		w.wantFaults()
		wantCredentials(second)
		wantLogin(testInstance, w.LoginToken(), first) // what has been made before tells the truth about itself
		synctest.Wait()                                // now there is another
		wantLogin(testInstance, secondLogin, second)
	})
}

// The key file was there at the start and removed later. Hours after one 503 of
// the token endpoint each Dial still failed with "no such file": any failure
// made the Dialer forget its credentials. Issue 13, 9c; users count on not
// needing the file: GoogleCloudPlatform/cloud-sql-proxy#1521.
func TestAFailureOfTheTokenServerForgetsNoCredentials(t *testing.T) {
	for name, tt := range map[string]struct {
		failure authtest.Failure
		refused bool
	}{
		"out of order": {failure: authtest.Failure{Code: http.StatusServiceUnavailable}},
		"busy":         {failure: authtest.Failure{Code: http.StatusTooManyRequests}},
		"refused":      {failure: authtest.Failure{Code: http.StatusBadRequest, Body: `{"error":"invalid_grant"}`}, refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			withFile(t, (*authtest.Server).ServiceAccount, func(t *testing.T, w *world, s *authtest.Server, name string, _ chan string) {
				var fail, failed atomic.Bool
				s.Fail = func(*http.Request) *authtest.Failure {
					if !fail.Swap(false) {
						return nil
					}
					failed.Store(true)
					return &tt.failure
				}
				w.wantDial()
				if err := os.Remove(name); err != nil {
					t.Fatal(err)
				}
				fail.Store(true)
				time.Sleep(6 * time.Hour) // nobody asks
				if err := w.dial(20 * time.Second); err != nil && !tt.refused {
					t.Errorf("six hours later: %v", err)
				}
				time.Sleep(time.Minute)
				w.wantDial()
				if !failed.Load() {
					t.Error("the fault did not happen")
				}
			})
		})
	}
}

// A caller's own deadline was not looked at while tokens were made, and after
// Close a goroutine went on with that for 20 s. Issue 13, 9b.
func TestCloseEndsTheMakingOfTokens(t *testing.T) {
	s := authtest.NewServer("admin", "login")
	t.Cleanup(s.Close)
	key, user, external := s.ServiceAccount(), s.User(), s.ExternalAccount("")
	for name, content := range map[string][]byte{
		"key": key, "user": user, "external account": external, "impersonated": s.Impersonated(target, key),
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
				_ = w.dialer.Close()
				silent := &silence{}
				d, err := cloudsqlconn.NewDialer(t.Context(), cloudsqlconn.WithAdminAPIEndpoint(w.URL()), cloudsqlconn.WithDialFunc(w.DialContext),
					cloudsqlconn.WithCredentialsJSON(content), cloudsqlconn.WithHTTPClient(&http.Client{Transport: route{w.Client().Transport, silent}}))
				if err != nil {
					t.Fatal(err)
				}
				w.dialer = d
				if took := took(func() { w.wantError(context.DeadlineExceeded, 300*time.Millisecond) }); took != 300*time.Millisecond {
					t.Errorf("a Dial with 300 ms took %v", took)
				}
				failed := make(chan error, 1)
				go func() {
					_, err := d.Dial(t.Context(), testInstance)
					failed <- err
				}()
				synctest.Wait()
				if silent.waiting.Load() == 0 {
					t.Fatal("the fault did not happen: nobody waits for a token server")
				}
				if took := took(func() { _ = d.Close() }); took > 0 {
					t.Errorf("Close took %v", took)
				}
				if err := <-failed; !errors.Is(err, cloudsqlconn.ErrDialerClosed) {
					t.Errorf("Dial: got %v, want ErrDialerClosed", err)
				}
				synctest.Wait()
				if n := silent.waiting.Load(); n != 0 {
					t.Errorf("%d requests for tokens go on after Close", n)
				}
				if _, err := d.IAMPrincipal(t.Context()); !errors.Is(err, cloudsqlconn.ErrDialerClosed) {
					t.Errorf("IAMPrincipal: got %v, want ErrDialerClosed", err)
				}
			})
		})
	}
}
