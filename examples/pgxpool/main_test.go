package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn/examples/internal/exampletest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/testmain"
)

func TestMain(m *testing.M) { os.Exit(testmain.Run(m)) }

const dsn = "host=my-project:europe-west1:my-db user=app password=secret dbname=shop"

// running is the service in operation.
type running struct {
	url  string
	stop func() error // as SIGTERM does; returns what run returns
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
	r := &running{url: "http://" + listener.Addr().String(), stop: func() error { cancel(); return <-ended }}
	t.Cleanup(cancel)
	return r
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

func TestServesBooksAndStopsGracefully(t *testing.T) {
	t.Parallel()
	cloud := exampletest.Postgres(t)
	service := start(t, cloud)
	want(t, "GET", service.url+"/healthz", "", 200, "ok")
	want(t, "POST", service.url+"/books", "Book One", 201, "")
	want(t, "POST", service.url+"/books", strings.Repeat("x", 1001), 400, "the title is too long")
	want(t, "GET", service.url+"/books", "", 200, `[{"id":1,"title":"Book One"}]`)

	if err := service.stop(); err != nil {
		t.Error(err)
	}
	if n := cloud.Proxy.CutConnections(false); n != 0 {
		t.Errorf("%d connections are open after the end", n)
	}
}

func TestIsUnhealthyWhileTheInstanceIsDown(t *testing.T) {
	t.Parallel()
	cloud := exampletest.Postgres(t)
	service := start(t, cloud)
	want(t, "GET", service.url+"/healthz", "", 200, "ok")

	cloud.Proxy.Stop()
	want(t, "GET", service.url+"/healthz", "", 503, "the database is unavailable")
	want(t, "GET", service.url+"/books", "", 503, "the database is unavailable")
	if cloud.Proxy.Counts().Refused == 0 {
		t.Error("nobody met the stopped instance")
	}

	cloud.Proxy.Start()
	want(t, "GET", service.url+"/healthz", "", 200, "ok")
	if err := service.stop(); err != nil {
		t.Error(err)
	}
}

func TestSaysWhatToDoWithoutPermission(t *testing.T) {
	t.Parallel()
	err := start(t, exampletest.Forbid(t)).stopped()
	var out strings.Builder
	report(&out, err)
	if !strings.Contains(out.String(), exampletest.Hint) {
		t.Errorf("got %q", out.String())
	}
}
