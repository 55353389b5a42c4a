package auth_test

import (
	"context"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/auth"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/authtest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/memnet"
)

// counted are calls that were made a second time.
type counted struct {
	mu    sync.Mutex // guards calls
	calls []string
}

func (c *counted) add(call string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = append(c.calls, call)
}

func (c *counted) want(t *testing.T, calls ...string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Equal(c.calls, calls) {
		t.Errorf("made a second time: %q, want %q", c.calls, calls)
	}
}

// One request that was accepted and never answered took all of the 20 s that a
// token may take, and every refresh with it (issue 13, point 3). The transport
// has one connection here, as HTTP/2 would have.
//
// It replaces the default transport: not parallel.
func TestAHungTokenRequestIsMadeAgainOverAnotherConnection(t *testing.T) {
	s := newServer(t)
	user := authtest.With(s.User(), map[string]any{"token_uri": "http://oauth2.test/token"})
	before := http.DefaultTransport
	defer func() { http.DefaultTransport = before }()
	synctest.Test(t, func(t *testing.T) {
		l := memnet.Listen("oauth2.test:80")
		var asked atomic.Int64
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if asked.Add(1) == 1 {
				_, _ = io.Copy(io.Discard, r.Body) // only then is the context told
				<-r.Context().Done()
				return
			}
			s.Config.Handler.ServeHTTP(w, r)
		})}
		var wg sync.WaitGroup
		wg.Go(func() { _ = server.Serve(l) })
		defer wg.Wait()
		defer server.Close()
		one := &http.Transport{DialContext: l.DialContext, MaxConnsPerHost: 1}
		defer one.CloseIdleConnections()
		http.DefaultTransport = one

		var hedges counted
		began := time.Now()
		want(t, auth.New(auth.Config{JSON: user, Hedged: hedges.add}).Admin(), adminToken)
		if took := time.Since(began); asked.Load() != 2 || took != 1500*time.Millisecond {
			t.Errorf("%d requests, in %v", asked.Load(), took)
		}
		hedges.want(t, "token")
	})
}

// A server out of order is asked again by those who ask for tokens, and one that
// has asked to be left alone is not asked beside a request that hangs.
func TestATokenServerThatAsksToBeLeftAloneGetsNoHedges(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	user := s.User()
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		inProcess := s.InProcess().Transport
		client := &http.Client{Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
			switch asked.Add(1) {
			case 1:
				return &http.Response{StatusCode: 503, Header: http.Header{"Retry-After": {"10"}}, Body: http.NoBody, Request: req}, nil
			case 2:
				<-req.Context().Done()
				return nil, req.Context().Err()
			}
			return inProcess.RoundTrip(req)
		})}
		var hedges counted
		admin := auth.New(auth.Config{JSON: user, HTTPClient: client, Hedged: hedges.add}).Admin()
		if e := wantError[*auth.RefusedError](t, admin); e.Code != 503 {
			t.Errorf("got %v", e)
		}
		hedges.want(t)
		began := time.Now()
		want(t, admin, adminToken)
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("took %v", took)
		}
		hedges.want(t, "token")
	})
}

// In real time, since the metadata server's client cannot be replaced; without a
// second request the first would not be answered. Environment variables: not
// parallel.
func TestAMetadataServerThatHangsOnceIsAskedAgain(t *testing.T) {
	s := newServer(t)
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
	t.Setenv("CLOUDSDK_CONFIG", t.TempDir())
	t.Setenv("NO_GCE_CHECK", "")
	t.Setenv("GCE_METADATA_HOST", s.Listener.Addr().String())
	over, end := context.WithCancel(t.Context())
	defer end() // before the server is closed
	var (
		mu    sync.Mutex // guards asked
		asked = map[string]int{}
	)
	s.Fail = func(r *http.Request) *authtest.Failure {
		mu.Lock()
		asked[r.URL.Path]++
		first := asked[r.URL.Path] == 1
		mu.Unlock()
		if first {
			select {
			case <-over.Done():
			case <-r.Context().Done():
			}
		}
		return nil
	}
	var hedges counted
	want(t, auth.New(auth.Config{Hedged: hedges.add}).Admin(), adminToken)
	hedges.want(t, "metadata server", "metadata server") // the universe, and the token
}
