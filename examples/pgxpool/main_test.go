package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"strings"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn/examples/internal/exampletest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/testmain"
)

func TestMain(m *testing.M) { os.Exit(testmain.Run(m)) }

const dsn = "host=my-project:europe-west1:my-db user=app password=secret dbname=shop connect_timeout=4"

// running is the service in operation.
type running struct {
	addr, url string
	cancel    context.CancelFunc // as SIGTERM does
	ended     chan error         // what run returns
}

func start(t *testing.T, cloud *exampletest.Cloud) *running {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, listener, dsn, cloud.Options()...) }()
	t.Cleanup(cancel)
	addr := listener.Addr().String()
	return &running{addr: addr, url: "http://" + addr, cancel: cancel, ended: ended}
}

// request returns the status and the body of an answer.
func request(t *testing.T, method, url, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(text))
}

func want(t *testing.T, method, url, body string, status int, text string) {
	t.Helper()
	if s, got := request(t, method, url, body); s != status || got != text {
		t.Errorf("%s %s: got %d %q, want %d %q", method, url, s, got, status, text)
	}
}

func TestServesBooksAndFinishesRequestsAtTheEnd(t *testing.T) {
	t.Parallel()
	cloud := exampletest.Postgres(t)
	service := start(t, cloud)
	want(t, "GET", service.url+"/healthz", "", 200, "ok")
	want(t, "POST", service.url+"/books", "Book One", 201, "")
	want(t, "POST", service.url+"/books", strings.Repeat("x", 1001), 400, "the title is too long")
	want(t, "GET", service.url+"/books", "", 200, `[{"id":1,"title":"Book One"}]`)

	// A request is under way when SIGTERM comes: its handler waits for the body.
	body, rest := io.Pipe()
	handled := make(chan struct{})
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got100Continue: func() { close(handled) }})
	req, err := http.NewRequestWithContext(ctx, "POST", service.url+"/books", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Expect", "100-continue")
	answered := make(chan error, 1)
	go func() {
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode != http.StatusCreated {
				err = errors.New(resp.Status)
			}
		}
		answered <- err
	}()
	<-handled
	service.cancel()
	for {
		conn, err := net.Dial("tcp", service.addr)
		if err != nil {
			break // nobody listens any more
		}
		conn.Close()
	}
	_, _ = io.WriteString(rest, "Book Two")
	rest.Close()
	if err := <-answered; err != nil {
		t.Errorf("the request that was under way: %v", err)
	}
	if err := <-service.ended; err != nil {
		t.Error(err)
	}
}

func TestIsUnhealthyWhileTheInstanceIsDown(t *testing.T) {
	t.Parallel()
	cloud := exampletest.Postgres(t)
	service := start(t, cloud)
	want(t, "GET", service.url+"/healthz", "", 200, "ok")

	cloud.Instance.Stop()
	want(t, "GET", service.url+"/healthz", "", 503, "the database is unavailable")
	want(t, "GET", service.url+"/books", "", 503, "the database is unavailable")
	if cloud.Instance.Counts().Refused == 0 {
		t.Error("nobody met the stopped instance")
	}

	cloud.Instance.Start()
	want(t, "GET", service.url+"/healthz", "", 200, "ok")
	service.cancel()
	if err := <-service.ended; err != nil {
		t.Error(err)
	}
}

func TestSaysWhatToDoWithoutPermission(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	err = run(t.Context(), listener, dsn, exampletest.Forbid(t).Options()...)
	var out strings.Builder
	report(&out, err)
	if !strings.Contains(out.String(), exampletest.Hint) {
		t.Errorf("got %q", out.String())
	}
}
