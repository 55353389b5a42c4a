package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

const otherInstance = "my-project:europe-west1:other"

// running is a proxy that runs.
type running struct {
	t    *testing.T
	log  lines
	stop func() // as a signal does
	code chan int
}

// lines is a writer of lines, which waits for nobody.
type lines chan []byte

func (l lines) Write(line []byte) (int, error) {
	l <- bytes.Clone(line)
	return len(line), nil
}

// startProxy runs the proxy against s.
func startProxy(t *testing.T, s *cloudsqltest.Server, args ...string) *running {
	t.Helper()
	return startProxyWith(t, s.Options(), args...)
}

// startProxyWith runs the proxy with options.
func startProxyWith(t *testing.T, opts []cloudsqlconn.Option, args ...string) *running {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(stop)
	p := &running{t, make(lines, 1000), stop, make(chan int, 1)}
	go func() {
		p.code <- (&program{stdout: io.Discard, stderr: translated{p.log}, options: opts}).run(ctx, append([]string{"proxy", "-log-format", "json"}, args...))
		close(p.log)
	}()
	return p
}

// record is a line of the log.
type record struct {
	Level, Msg, Instance, Engine, Hint string
	Drain                              time.Duration
}

// next returns the next line whose message begins with msg.
func (p *running) next(msg string) record {
	p.t.Helper()
	var seen []string
	for line := range p.log {
		var r record
		if err := json.Unmarshal(line, &r); err != nil {
			p.t.Fatalf("%v in %q", err, line)
		}
		if strings.HasPrefix(r.Msg, msg) {
			return r
		}
		seen = append(seen, r.Msg)
	}
	p.t.Fatalf("no message begins with %q: %q", msg, seen)
	return record{}
}

// listening returns an address that the proxy listens on.
func (p *running) listening() string {
	p.t.Helper()
	return strings.TrimPrefix(p.next("listening on ").Msg, "listening on ")
}

// wantEnd stops the proxy.
func (p *running) wantEnd(code int) {
	p.t.Helper()
	p.stop()
	if got := <-p.code; got != code {
		p.t.Errorf("exit status %d, want %d", got, code)
	}
}

// wantEcho connects to address, host:port or a path, and leaves.
func wantEcho(t *testing.T, address string) {
	t.Helper()
	network := "tcp"
	if strings.HasPrefix(address, "/") {
		network = "unix"
	}
	c, err := net.Dial(network, address)
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	b := make([]byte, 5)
	_, _ = io.WriteString(c, "hello")
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "hello" {
		t.Errorf("%q, %v", b, err)
	}
}

// newEcho is an Admin API with two instances that echo.
func newEcho(t *testing.T) *cloudsqltest.Server {
	t.Helper()
	s := cloudsqltest.NewServer()
	t.Cleanup(s.Close)
	s.AddInstance(instance, cloudsqltest.Instance{})
	s.AddInstance(otherInstance, cloudsqltest.Instance{DatabaseVersion: "MYSQL_8_4"})
	return s
}

func TestProxyLeadsToTheInstance(t *testing.T) {
	t.Parallel()
	s := newEcho(t)
	for _, listen := range []string{"127.0.0.1:0", filepath.Join(t.TempDir(), "db.sock")} {
		p := startProxy(t, s, "-listen", listen, instance)
		r := p.next("listening on ")
		address := strings.TrimPrefix(r.Msg, "listening on ")
		if r.Instance != instance || r.Engine != "POSTGRES_16" || listen[0] == '/' && address != listen {
			t.Errorf("got %+v", r)
		}
		wantEcho(t, address)
		p.next("client connected")
		p.next("connection ended")
		p.wantEnd(exitOK)
		if _, err := os.Lstat(listen); listen[0] == '/' && !os.IsNotExist(err) {
			t.Errorf("the socket is still there: %v", err)
		}
	}
}

func TestProxyServesSeveralInstances(t *testing.T) {
	t.Parallel()
	s := newEcho(t)
	socket := filepath.Join(t.TempDir(), "my.sock")
	p := startProxy(t, s, instance+"?port=0&ip-types=PRIVATE", otherInstance+"?listen="+socket+"&socket-mode=0666", "my-project:europe-west1:missing?port=0")
	var failed record
	addresses := map[string]string{}
	for len(addresses) < 2 || failed.Msg == "" {
		r := p.next("")
		if r.Level == "ERROR" {
			failed = r
		} else if address, ok := strings.CutPrefix(r.Msg, "listening on "); ok {
			addresses[r.Instance] = address
		}
	}
	for _, address := range addresses {
		wantEcho(t, address)
	}
	if !strings.Contains(failed.Msg, "instanceDoesNotExist") || !strings.Contains(failed.Hint, "gcloud sql instances list") {
		t.Errorf("got %+v", failed)
	}
	p.wantEnd(exitFailed)
}

func TestALazyProxyAsksNothingBeforeTheFirstClient(t *testing.T) {
	t.Parallel()
	s := newEcho(t)
	p := startProxy(t, s, "-lazy", "-listen", "127.0.0.1:0", "-exit-status", "7", instance)
	address := p.listening()
	if n := len(s.Requests()); n != 0 {
		t.Errorf("%d requests", n)
	}
	wantEcho(t, address)
	p.wantEnd(7)
}

func TestQuietProxiesSayWhatIsWrong(t *testing.T) {
	t.Parallel()
	s := newEcho(t)
	socket := filepath.Join(t.TempDir(), "db.sock")
	p := startProxy(t, s, "-quiet", "-lazy", "-listen", socket, "my-project:europe-west1:missing")
	for {
		if c, err := net.Dial("unix", socket); err == nil {
			_ = c.(*net.UnixConn).CloseWrite()
			_, _ = io.ReadAll(c)
			_ = c.Close()
			break
		}
	}
	if r := p.next(""); r.Level != "WARN" || r.Msg != "client not connected" || r.Hint == "" {
		t.Errorf("got %+v", r)
	}
	p.wantEnd(exitOK)
}

func TestProxySaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	for name, tt := range map[string]struct {
		args  []string
		code  int
		tells string
	}{
		"no instance":          {[]string{"proxy"}, exitUsage, "want an instance"},
		"unknown parameter":    {[]string{"proxy", instance + "?ports=1"}, exitUsage, "ports: want one of iam, "},
		"a parameter twice":    {[]string{"proxy", instance + "?port=1&port=2"}, exitUsage, "want one value, got 2"},
		"not yes or no":        {[]string{"proxy", instance + "?iam=maybe"}, exitUsage, `want true or false, got "maybe"`},
		"no octal number":      {[]string{"proxy", "-socket-mode", "0888", instance}, exitUsage, "want an octal number such as 0660"},
		"no group":             {[]string{"proxy", "-socket-group", "no such group", instance}, exitUsage, `got "no such group"`},
		"no format":            {[]string{"proxy", "-log-format", "xml", instance}, exitUsage, `want text or json, got "xml"`},
		"unknown instance":     {[]string{"proxy", "my-project:europe-west1:other"}, exitFailed, "gcloud sql instances list"},
		"not loopback":         {[]string{"proxy", "-listen", "0.0.0.0:0", instance}, exitUsage, "-allow-remote"},
		"a name":               {[]string{"proxy", "-listen", "db.example.com:5432", instance}, exitUsage, "-allow-remote"},
		"no port":              {[]string{"proxy", "-listen", "127.0.0.1", instance}, exitUsage, "host:port"},
		"a folder that is not": {[]string{"proxy", "-listen", "/nowhere/db.sock", instance}, exitFailed, "/nowhere/db.sock"},
		"no port number":       {[]string{"proxy", instance + "?port=65536"}, exitUsage, `want a port from 0 to 65535, got "65536"`},
		"a socket's probes":    {[]string{"proxy", "-health", "/run/x", instance}, exitUsage, "-health: want host:port"},
		"no probes' port":      {[]string{"proxy", "-health", "9090", instance}, exitUsage, "-health: want host:port"},
		"no name":              {[]string{"proxy", "-lazy", "my-db", "a?port=1"}, exitUsage, "a DNS name needs -dns"},
		"flags at the end":     {[]string{"proxy", instance, "-drain", "-1s"}, exitUsage, "-drain: want 0 or more"},
		"no connections":       {[]string{"proxy", "-max-connections", "-1", instance}, exitUsage, "-max-connections: want 1 or more"},
		"a negative drain":     {[]string{"proxy", "-drain", "-1s", instance}, exitUsage, "-drain: want 0 or more"},
		"a negative wait":      {[]string{"proxy", "-accept-for", "-1s", instance}, exitUsage, "-accept-for: want 0 or more"},
		"no exit status":       {[]string{"proxy", "-exit-status", "256", instance}, exitUsage, "from 0 to 255, got 256"},
		"all that is wrong":    {[]string{"proxy", "-drain", "-1s", "-login-token", "x", instance + "?ports=1"}, exitUsage, "cloudsqlconn proxy: -drain: want"},
	} {
		t.Run(name, func(t *testing.T) {
			code, _, stderr := cli(t, s, tt.args...)
			if code != tt.code || !strings.Contains(stderr, tt.tells) {
				t.Errorf("exit status %d, %q", code, stderr)
			}
		})
	}
}

func TestTheDefaultPortIsTheEngines(t *testing.T) {
	t.Parallel()
	for engine, want := range map[string]string{"POSTGRES_17": "5432", "MYSQL_8_4": "3306", "SQLSERVER_2022_WEB": "1433", "": "5432"} {
		if got := enginePort(engine); got != want {
			t.Errorf("%q: %s, want %s", engine, got, want)
		}
	}
}
