package admin_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/googleapi"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/memnet"
)

// endless answers with a body of spaces that never ends, and counts what was
// read of it.
func endless(code int, read *atomic.Int64) answer {
	return func(r *http.Request) (*http.Response, error) {
		resp, _ := status(code, "")(r)
		resp.ContentLength = -1
		resp.Body = io.NopCloser(readerFunc(func(b []byte) (int, error) {
			for i := range b {
				b[i] = ' '
			}
			read.Add(int64(len(b)))
			return len(b), nil
		}))
		return resp, nil
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

func TestEndlessReply(t *testing.T) {
	t.Parallel()
	eachHalf(t, func(t *testing.T, h half) {
		var read atomic.Int64
		a := h.api(endless(200, &read))
		err := fetchError(t.Context(), t, newClient(t, a), false)
		if want := "the Admin API's reply is unusable: " + string(h) + " is longer than 1 MiB"; err.Error() != want {
			t.Errorf("error is %q, want %q", err, want)
		}
		var reply *admin.ReplyError
		if !errors.As(err, &reply) || !admin.Terminal(err) {
			t.Errorf("%v is no terminal ReplyError", err)
		}
		if n := read.Load(); n > 2*(1<<20+1) { // it is asked for once more
			t.Errorf("%d bytes read", n)
		}
		if n := len(a.received(string(h))); n != 2 {
			t.Errorf("asked %d times", n)
		}
	})
}

func TestEndlessRefusal(t *testing.T) {
	t.Parallel()
	eachHalf(t, func(t *testing.T, h half) {
		var read atomic.Int64
		a := h.api(endless(503, &read))
		err := fetchError(t.Context(), t, newClient(t, a), false)
		var api *googleapi.Error
		if !errors.As(err, &api) || api.Code != 503 {
			t.Fatalf("error is %v", err)
		}
		if len(api.Body) > 64<<10 {
			t.Errorf("the error holds on to %d bytes", len(api.Body))
		}
		if n := read.Load(); n > 4*128<<10 {
			t.Errorf("%d bytes read in four tries", n)
		}
		h.want(t, a, 4)
	})
}

func TestLongestReply(t *testing.T) {
	t.Parallel()
	body := settingsJSON()
	full := body + strings.Repeat(" ", 1<<20-len(body))
	mustFetch(t, &api{settings: status(200, full)})
	err := fetchError(t.Context(), t, newClient(t, &api{settings: status(200, full+" ")}), false)
	wantText(t, err, "connectSettings is longer than 1 MiB")
}

// A reply of a kilobyte can unpack to a gigabyte.
func TestCompressedEndlessReply(t *testing.T) {
	t.Parallel()
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	if _, err := z.Write(make([]byte, 2<<20)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(bomb.Bytes())
	}))
	t.Cleanup(s.Close)
	c := newClient(t, s.Client().Transport, func(cfg *admin.Config) { cfg.Endpoint = s.URL })
	wantText(t, fetchError(t.Context(), t, c, false), "is longer than 1 MiB")
}

// A user's RoundTripper may be sloppy about what net/http asks of it.
func TestAnswersWithoutBody(t *testing.T) {
	t.Parallel()
	for name, rt := range map[string]answer{
		"no body": func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 403, Header: http.Header{}, Request: r}, nil
		},
		"no response": func(*http.Request) (*http.Response, error) { return nil, nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				_ = fetchError(t.Context(), t, newClient(t, &api{settings: rt, cert: rt}), false)
			})
		})
	}
}

func TestClientOfTheCallerStaysAsItIs(t *testing.T) {
	t.Parallel()
	a := &api{}
	theirs := &http.Client{Transport: a, Timeout: time.Minute}
	newClient(t, nil, func(cfg *admin.Config) { cfg.HTTPClient = theirs })
	if theirs.Transport != http.RoundTripper(a) || theirs.Timeout != time.Minute {
		t.Error("NewClient has changed the caller's HTTP client")
	}
}

// withDefaultTransport runs a test while the process has another default
// transport. Such a test cannot be parallel.
func withDefaultTransport(t *testing.T, rt http.RoundTripper) {
	t.Helper()
	before := http.DefaultTransport
	http.DefaultTransport = rt
	t.Cleanup(func() { http.DefaultTransport = before })
}

func ownTransport(cfg *admin.Config) { cfg.HTTPClient = nil }

// Programs replace it: with one that traces, for example.
func TestDefaultTransportMayBeOfAnyKind(t *testing.T) {
	a := &api{}
	withDefaultTransport(t, a)
	for _, alter := range []func(*admin.Config){
		ownTransport,
		func(cfg *admin.Config) { cfg.HTTPClient = &http.Client{} },
	} {
		if _, _, err := newClient(t, nil, alter).Fetch(t.Context(), instance, false); err != nil {
			t.Fatal(err)
		}
	}
	a.wantCalls(t, 2, 2)
}

func TestManyFetchesShareFewConnections(t *testing.T) {
	var conns, hedges atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(serveGenuine))
	s.EnableHTTP2 = true
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	s.StartTLS()
	defer s.Close()
	withDefaultTransport(t, s.Client().Transport)
	c := newClient(t, nil, ownTransport, func(cfg *admin.Config) {
		cfg.Endpoint, cfg.Hedged = s.URL, func(string) { hedges.Add(1) }
	})
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			if _, _, err := c.Fetch(t.Context(), instance, false); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	c.Close()
	most := int32(8)
	if hedges.Load() > 0 { // on a busy machine: they have connections of their own
		most *= 2
	}
	if n := conns.Load(); n > most {
		t.Errorf("40 Fetches opened %d connections, want at most %d", n, most)
	}
}

// serveGenuine is genuine as an http.Handler.
func serveGenuine(w http.ResponseWriter, r *http.Request) {
	resp, err := genuine(r)
	if err != nil {
		panic(err)
	}
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, resp.Body)
}

// lossyConn can lose all that is written to it, as a connection does whose
// network has gone.
type lossyConn struct {
	net.Conn
	lost, closed atomic.Bool
}

func (c *lossyConn) Close() error {
	c.closed.Store(true)
	return c.Conn.Close()
}

func (c *lossyConn) Write(b []byte) (int, error) {
	if c.lost.Load() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// All calls go over one connection of HTTP/2. When the network has lost that,
// they were not answered for 15 s, in which callers with less time failed
// (issue 13, point 3).
func TestConnectionThatDiedInSilenceCostsLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memnet.Listen("sqladmin.test:443")
		s := &http.Server{
			Handler:   http.HandlerFunc(serveGenuine),
			TLSConfig: &tls.Config{Certificates: []tls.Certificate{serverCert()}},
			ErrorLog:  log.New(io.Discard, "", 0),
		}
		var wg sync.WaitGroup
		wg.Go(func() { _ = s.ServeTLS(l, "", "") })
		defer wg.Wait()
		defer s.Close()

		var (
			mu    sync.Mutex // guards conns
			conns []*lossyConn
		)
		roots := x509.NewCertPool()
		roots.AddCert(serverCA.cert)
		withDefaultTransport(t, &http.Transport{
			ForceAttemptHTTP2: true,
			TLSClientConfig:   &tls.Config{RootCAs: roots},
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := l.DialContext(ctx, network, addr)
				lossy := &lossyConn{Conn: conn}
				mu.Lock()
				defer mu.Unlock()
				conns = append(conns, lossy)
				return lossy, err
			},
		})
		var hedges []string
		c := newClient(t, nil, ownTransport, func(cfg *admin.Config) {
			cfg.Hedged = func(call string) {
				mu.Lock()
				defer mu.Unlock()
				hedges = append(hedges, call)
			}
		})
		defer c.Close()
		fetch := func(want time.Duration) {
			began := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			if _, _, err := c.Fetch(ctx, instance, false); err != nil {
				t.Errorf("after %v: %v", time.Since(began), err)
			}
			if took := time.Since(began); took != want {
				t.Errorf("Fetch took %v, want %v", took, want)
			}
		}
		fetch(0)
		mu.Lock()
		for _, conn := range conns {
			conn.lost.Store(true)
		}
		mu.Unlock()
		fetch(1500 * time.Millisecond) // the hedges have a connection of their own
		time.Sleep(15 * time.Second)   // the dead one has been given up
		fetch(0)
		c.Close()
		synctest.Wait() // for a Dial that comes late, too
		mu.Lock()
		defer mu.Unlock()
		if slices.Sort(hedges); !slices.Equal(hedges, []string{connectSettings, ephemeralCert}) {
			t.Errorf("hedges of %v", hedges)
		}
		for i, conn := range conns {
			if !conn.closed.Load() {
				t.Errorf("connection %d of %d is open after Close", i+1, len(conns))
			}
		}
	})
}

// The Google API client logs requests, tokens and all, when the environment
// says so.
func TestEnvironmentCannotMakeItLogTokens(t *testing.T) {
	if os.Getenv("GOOGLE_SDK_GO_LOGGING_LEVEL") == "debug" { // the child
		if _, _, err := newClient(t, &api{}).Fetch(t.Context(), instance, true); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Parallel()
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestEnvironmentCannotMakeItLogTokens$", "-test.v")
	child.Env = append(os.Environ(), "GOOGLE_SDK_GO_LOGGING_LEVEL=debug")
	out, err := child.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("PASS")) {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, secret := range []string{apiToken, loginToken} {
		if bytes.Contains(out, []byte(secret)) {
			t.Errorf("the log has the token %s", secret)
		}
	}
}
