package main

import (
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
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

func TestTheServiceManagerIsTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	p := startProxy(t, newEcho(t), instance+"?port=0")
	want := func(text string) {
		t.Helper()
		b := make([]byte, 100)
		_ = manager.SetReadDeadline(time.Now().Add(time.Minute))
		if n, err := manager.Read(b); err != nil || string(b[:n]) != text {
			t.Errorf("got %q, %v, want %q", b[:n], err, text)
		}
	}
	want("READY=1")
	p.stop()
	want("STOPPING=1")
	p.wantEnd(exitOK)
}

func TestProbesStayOnThisMachine(t *testing.T) {
	t.Parallel()
	code, _, stderr := cli(t, newServer(t), "proxy", "-health", "0.0.0.0:0", instance)
	if code != exitFailed || !strings.Contains(stderr, "-allow-remote") {
		t.Errorf("exit status %d, %q", code, stderr)
	}
}
