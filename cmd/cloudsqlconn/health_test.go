package main

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/memnet"
)

// freePort is an address that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// get returns the status and the body.
func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestProbes(t *testing.T) {
	t.Parallel()
	s := newEcho(t)
	p := startProxy(t, s, "-health", "127.0.0.1:0", "-drain", "1h", instance+"?port=0")
	health := strings.TrimPrefix(p.next("answering probes on ").Msg, "answering probes on ")
	if code, _, stderr := cli(t, s, "wait", "-health", health); code != exitOK {
		t.Errorf("exit status %d, %q", code, stderr)
	}
	address := p.listening()
	for path, want := range map[string]string{"/startup": "ok", "/readiness": "ok", "/liveness": "ok", "/": instance} {
		if status, body := get(t, "http://"+health+path); status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: %d, %q", path, status, body)
		}
	}
	// A probe of another path, or an end that was not allowed, does not go well.
	for _, path := range []string{"/healthz", "/quitquitquit"} {
		if status, body := get(t, "http://"+health+path); status != http.StatusNotFound {
			t.Errorf("%s: %d, %q", path, status, body)
		}
	}
	// While connections end it is alive, but wants no more clients.
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	p.next("client connected")
	p.stop()
	p.next("waiting for connections to end")
	if status, body := get(t, "http://"+health+"/liveness"); status != http.StatusOK {
		t.Errorf("%d, %q", status, body)
	}
	if status, body := get(t, "http://"+health+"/readiness"); status != http.StatusServiceUnavailable || !strings.Contains(body, "stopping") {
		t.Errorf("%d, %q", status, body)
	}
	_ = c.Close()
	p.wantEnd(exitOK)
}

func TestAProxyThatLacksAnInstanceHasNotStarted(t *testing.T) {
	t.Parallel()
	s := newEcho(t)
	p := startProxy(t, s, "-health", "127.0.0.1:0", instance+"?port=0", "my-project:europe-west1:missing?port=0")
	health := strings.TrimPrefix(p.next("answering probes on ").Msg, "answering probes on ")
	p.next("cloudsqlconn: ") // the error
	if code, _, stderr := cli(t, s, "wait", "-health", health, "-timeout", "300ms"); code != exitFailed || !strings.Contains(stderr, "503") {
		t.Errorf("exit status %d, %q", code, stderr)
	}
	if status, body := get(t, "http://"+health+"/liveness"); status != http.StatusOK {
		t.Errorf("%d, %q", status, body)
	}
	p.wantEnd(exitFailed)
}

// A certificate that has expired, and no other one to be had.
func TestAProxyWithoutACertificateIsNotReady(t *testing.T) {
	t.Parallel()
	s := newEcho(t)
	p := startProxy(t, s, "-lazy", "-health", "127.0.0.1:0", "my-project:europe-west1:missing?port=0")
	health := strings.TrimPrefix(p.next("answering probes on ").Msg, "answering probes on ")
	address := p.listening()
	if status, body := get(t, "http://"+health+"/readiness"); status != http.StatusOK {
		t.Errorf("nothing is known yet: %d, %q", status, body)
	}
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p.next("client not connected")
	if status, body := get(t, "http://"+health+"/readiness"); status != http.StatusServiceUnavailable || !strings.Contains(body, "instanceDoesNotExist") {
		t.Errorf("%d, %q", status, body)
	}
	p.wantEnd(exitOK)
}

func TestWaitGivesUp(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	code, _, stderr := cli(t, s, "wait", "-health", freePort(t), "-timeout", "200ms")
	if code != exitFailed || !strings.Contains(stderr, "refused") {
		t.Errorf("exit status %d, %q", code, stderr)
	}
	if code, _, stderr = cli(t, s, "wait", "now"); code != exitUsage {
		t.Errorf("exit status %d, %q", code, stderr)
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	p := startProxy(t, newEcho(t), "-health", "127.0.0.1:0", instance+"?port=0")
	health := strings.TrimPrefix(p.next("answering probes on ").Msg, "answering probes on ")
	wantEcho(t, p.listening())
	p.next("connection ended")
	const of = `{cloudsqlconn_iam_authn="false",cloudsqlconn_instance="` + instance + `"`
	// Both are counted after the log has the end.
	ended, open := "\ncloudsqlconn_connection_duration_seconds_count"+of+"} 1\n", "\ncloudsqlconn_connections_open"+of+"} 0\n"
	var body string
	for !strings.Contains(body, ended) || !strings.Contains(body, open) {
		_, body = get(t, "http://"+health+"/metrics")
	}
	for _, want := range []string{
		"\ncloudsqlconn_io_bytes_total" + of + `,network_io_direction="receive"} 5` + "\n",
		`outcome="success"} 1` + "\n",
		"\ncloudsqlconn_refresh_expiry_seconds" + of + "} ",
		"\ngo_goroutines ",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("there is no %q in\n%s", want, body)
		}
	}
	p.wantEnd(exitOK)
}

func TestAProgramOnThisMachineMayStopIt(t *testing.T) {
	t.Parallel()
	p := startProxy(t, newEcho(t), "-health", "127.0.0.1:0", "-quitquitquit", "-exit-status", "7", instance+"?port=0")
	health := strings.TrimPrefix(p.next("answering probes on ").Msg, "answering probes on ")
	p.listening()
	quit := func(method, origin string) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+health+"/quitquitquit", nil)
		if err != nil {
			t.Fatal(err)
		}
		if origin != "" {
			req.Header.Set("Origin", origin)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	if status := quit(http.MethodGet, ""); status != http.StatusMethodNotAllowed {
		t.Errorf("GET, as a link makes: %d", status)
	}
	if status := quit(http.MethodPost, "https://example.com"); status != http.StatusForbidden {
		t.Errorf("a web page: %d", status)
	}
	if status, _ := get(t, "http://"+health+"/readiness"); status != http.StatusOK {
		t.Errorf("it stops: %d", status)
	}
	if status := quit(http.MethodPost, ""); status != http.StatusOK {
		t.Errorf("%d", status)
	}
	p.next("stopping, told so at /quitquitquit")
	if code := <-p.code; code != exitOK {
		t.Errorf("exit status %d", code)
	}
}

// Whoever is not on this machine may look, where that is allowed, but not stop it.
func TestOthersMayNotStopIt(t *testing.T) {
	t.Parallel()
	stopped := false
	h := &health{quit: func() { stopped = true }}
	for from, want := range map[string]int{"192.0.2.1:4711": http.StatusForbidden, "[::ffff:192.0.2.1]:4711": http.StatusForbidden, "[::ffff:127.0.0.1]:4711": http.StatusOK} {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/quitquitquit", nil)
		req.RemoteAddr = from
		w := httptest.NewRecorder()
		stopped = false
		h.quitFromHere(w, req)
		if w.Code != want || stopped != (want == http.StatusOK) {
			t.Errorf("%s: %d, stopped: %v", from, w.Code, stopped)
		}
	}
}

// A sidecar of a service mesh passes requests of others on, from this machine.
func TestOthersMayNotStopItThroughAProxy(t *testing.T) {
	t.Parallel()
	h := &health{quit: func() { t.Error("stopped") }}
	for _, header := range []string{"X-Forwarded-For", "Forwarded", "Via", "X-Real-Ip", "X-Forwarded-Host"} {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/quitquitquit", nil)
		req.RemoteAddr = "127.0.0.6:4711"
		req.Header.Set(header, "192.0.2.1")
		w := httptest.NewRecorder()
		h.quitFromHere(w, req)
		if w.Code != http.StatusForbidden {
			t.Errorf("%s: %d", header, w.Code)
		}
	}
}

// A web page whose name has become one of this machine's address cannot read what is
// for programs on it, unless others may reach it anyway.
func TestPagesMayNotReadIt(t *testing.T) {
	t.Parallel()
	h := &health{dialer: new(cloudsqlconn.Dialer), metrics: http.NotFoundHandler()}
	for host, here := range map[string]bool{
		"127.0.0.1:9090": true, "127.0.0.1": true, "[::1]:9090": true, "[::1]": true, "localhost:9090": true, "localhost": true,
		"page.example.com:9090": false, "localhost.example.com": false, "10.0.0.1:9090": false, "": false,
	} {
		for _, remote := range []bool{false, true} {
			req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/liveness", nil)
			req.Host = host
			w := httptest.NewRecorder()
			h.server(remote).Handler.ServeHTTP(w, req)
			want := http.StatusForbidden
			if here || remote {
				want = http.StatusOK
			}
			if w.Code != want {
				t.Errorf("%q, remote %v: %d, want %d", host, remote, w.Code, want)
			}
		}
	}
}

// Who begins a request, and never sends the rest of it, is not waited for.
func TestHalfARequestHoldsNoConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := memnet.Listen("health")
		s := (&health{dialer: new(cloudsqlconn.Dialer), metrics: http.NotFoundHandler()}).server(false)
		served := make(chan error, 1)
		go func() { served <- s.Serve(l) }()
		c, err := l.DialContext(t.Context(), "tcp", "health")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, "POST /liveness HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf"); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if answer, _ := io.ReadAll(c); time.Since(start) > time.Minute {
			t.Errorf("it ends after %v, with %q", time.Since(start), answer)
		}
		_ = s.Close()
		<-served
	})
}

func TestProbesStayOnThisMachine(t *testing.T) {
	t.Parallel()
	code, _, stderr := cli(t, newServer(t), "proxy", "-health", "0.0.0.0:0", instance)
	if code != exitUsage || !strings.Contains(stderr, "-allow-remote") {
		t.Errorf("exit status %d, %q", code, stderr)
	}
}
