package faults_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/authtest"
)

// withKey runs a test on fake time, with a Dialer that gets its tokens with a
// service account's key.
func withKey(t *testing.T, test func(t *testing.T, w *world, tokens *authtest.Server)) {
	t.Helper()
	s := authtest.NewServer("admin", "login") // outside the bubble: it listens
	t.Cleanup(s.Close)
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		_ = w.dialer.Close()
		s.Tokens = map[string]string{authtest.AdminScope: w.Token(), authtest.LoginScope: w.LoginToken()}
		d, err := cloudsqlconn.NewDialer(t.Context(), w.told.options(),
			cloudsqlconn.WithAdminAPIEndpoint(w.URL()), cloudsqlconn.WithDialFunc(w.DialContext), cloudsqlconn.WithCredentialsJSON(s.ServiceAccount()),
			cloudsqlconn.WithHTTPClient(&http.Client{Transport: route{w.Client().Transport, s.InProcess().Transport}}))
		if err != nil {
			t.Fatal(err)
		}
		w.dialer = d
		test(t, w, s)
	})
}

// adminTokens is how many tokens for the Admin API there were.
func adminTokens(s *authtest.Server) (n int) {
	for _, c := range s.Calls() {
		if c.Scope == "sqlservice.admin" {
			n++
		}
	}
	return n
}

// refuse makes the API answer 401 while refused says so.
func refuse(w *world, refused func() bool) {
	w.OnRequest = func(*http.Request) *cloudsqltest.Fault {
		if !refused() {
			return nil
		}
		w.faults.Add(1)
		return &cloudsqltest.Fault{Status: http.StatusUnauthorized}
	}
}

// A token can be revoked, or its key replaced, long before it expires.
func TestARevokedTokenIsReplacedAtOnce(t *testing.T) {
	withKey(t, func(t *testing.T, w *world, tokens *authtest.Server) {
		w.wantDial()
		time.Sleep(2 * time.Minute)
		refuse(w, func() bool { return adminTokens(tokens) < 2 })
		if took := took(func() { w.wantDial(cloudsqlconn.WithIAMAuthN(true)) }); took > 0 {
			t.Errorf("it took %v", took)
		}
		w.wantFaults()
		if n := adminTokens(tokens); n != 2 {
			t.Errorf("%d tokens were asked for, want 2", n)
		}
	})
}

func TestATokenThatIsRefusedAtOnceIsNotReplaced(t *testing.T) {
	withKey(t, func(t *testing.T, w *world, tokens *authtest.Server) {
		refuse(w, func() bool { return true })
		w.wantError(cloudsqlconn.ErrPermission, time.Minute)
		time.Sleep(time.Second) // the other half of the refresh, if it was not ended first
		if n := w.calls(); n > 2 {
			t.Errorf("%d calls, want 1 or 2", n)
		}
		if n := adminTokens(tokens); n != 1 {
			t.Errorf("%d tokens were asked for, want 1", n)
		}
	})
}

func TestATokenIsReplacedOnceIfTheNextIsRefusedToo(t *testing.T) {
	withKey(t, func(t *testing.T, w *world, tokens *authtest.Server) {
		w.wantDial()
		time.Sleep(2 * time.Minute)
		refuse(w, func() bool { return true })
		for range 30 { // in half a minute
			w.wantError(cloudsqlconn.ErrPermission, time.Minute, cloudsqlconn.WithIAMAuthN(true))
			time.Sleep(time.Second)
		}
		w.wantFaults()
		if n := adminTokens(tokens); n != 2 {
			t.Errorf("%d tokens were asked for, want 2", n)
		}
	})
}
