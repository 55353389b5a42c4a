package localport

import (
	"encoding/json"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

func TestHealthAndMetrics(t *testing.T) {
	inBoth(t,
		[]string{"--health-check", "--prometheus", "--http-address", "127.0.0.1", "--http-port", "P2", "--max-sigterm-delay", "1h", postgres + "?port=P1"},
		[]string{"-health", "127.0.0.1:P2", "-drain", "1h", postgres + "?port=P1"},
		func(t *testing.T, p program, flags []string) {
			port, health := freePort(t), freePort(t)
			r := p.start(t, newKit(t), nil, fill(flags, "P1", port, "P2", health)...)
			r.wait(p.ready, 1)
			c := wantEcho(t, "127.0.0.1:"+port)
			url := "http://localhost:" + health
			for _, path := range []string{"/startup", "/readiness", "/liveness"} {
				if status, body := ask(t, http.MethodGet, url+path); status != http.StatusOK || strings.TrimSpace(body) != "ok" {
					t.Errorf("%s: %d, %q", path, status, body)
				}
			}
			want := map[string]string{theirs.name: "cloudsqlconn_dial_latency", ours.name: "\ncloudsqlconn_dial_duration_seconds_count"}[p.name]
			if status, body := ask(t, http.MethodGet, url+"/metrics"); status != http.StatusOK || !strings.Contains(body, want) {
				t.Errorf("/metrics: %d, %q", status, body)
			}
			// While connections end, it is alive, and no clients are wanted.
			r.signal(syscall.SIGTERM)
			r.wait(map[string]string{theirs.name: "Shutting down", ours.name: "waiting for connections to end"}[p.name], 1)
			live, _ := ask(t, http.MethodGet, url+"/liveness")
			ready, _ := ask(t, http.MethodGet, url+"/readiness")
			if live != http.StatusOK || ready != http.StatusServiceUnavailable {
				t.Errorf("while it ends: /liveness %d, /readiness %d", live, ready)
			}
			_ = c
		})
}

func TestWait(t *testing.T) {
	inBoth(t, []string{"wait", "--http-port", "P2", "--max", "60s"}, []string{"wait", "-health", "127.0.0.1:P2", "-timeout", "60s"},
		func(t *testing.T, p program, flags []string) {
			health := freePort(t)
			file, err := p.file()
			if err != nil {
				t.Fatal(err)
			}
			r := p.start(t, newKit(t), nil, fill(map[string][]string{
				theirs.name: {"--health-check", "--http-port", "P2", postgres + "?port=P1"},
				ours.name:   {"-health", "127.0.0.1:P2", postgres + "?port=P1"},
			}[p.name], "P1", freePort(t), "P2", health)...)
			if out, err := exec.CommandContext(t.Context(), file, fill(flags, "P2", health)...).CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
			r.wait(p.ready, 1)
		})
}

func TestStructuredLogs(t *testing.T) {
	inBoth(t, []string{"--structured-logs", postgres + "?port=P1"}, []string{"-log-format", "json", postgres + "?port=P1"},
		func(t *testing.T, p program, flags []string) {
			r := p.start(t, newKit(t), nil, fill(flags, "P1", freePort(t))...)
			r.wait(p.ready, 1)
			r.signal(syscall.SIGTERM)
			r.end()
			keys := map[string][]string{theirs.name: {"severity", "timestamp", "message"}, ours.name: {"level", "time", "msg"}}[p.name]
			for line := range strings.Lines(r.text()) {
				var record map[string]any
				if err := json.Unmarshal([]byte(line), &record); err != nil {
					t.Errorf("%v in %q", err, line)
				}
				for _, key := range keys {
					if record[key] == nil {
						t.Errorf("no %s in %s", key, line)
					}
				}
			}
		})
}

// What goes on inside is told if that is asked for, and only then.
func TestDebugLogs(t *testing.T) {
	for name, row := range map[string]struct {
		theirs, ours []string
		told         bool
	}{
		"by default": {nil, nil, false},
		"asked for":  {[]string{"--debug-logs"}, []string{"-log-level", "debug"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			inBoth(t, append(row.theirs, postgres+"?port=P1"), append(row.ours, postgres+"?port=P1"), func(t *testing.T, p program, flags []string) {
				port := freePort(t)
				r := p.start(t, newKit(t), nil, fill(flags, "P1", port)...)
				r.wait(p.ready, 1)
				_ = wantEcho(t, "127.0.0.1:"+port).Close()
				r.signal(syscall.SIGTERM)
				r.end()
				detail := map[string]string{theirs.name: "] Dialing ", ours.name: "level=DEBUG"}[p.name]
				if strings.Contains(r.text(), detail) != row.told {
					t.Errorf("%q is told: %v", detail, !row.told)
				}
			})
		})
	}
}

func TestQuietPrograms(t *testing.T) {
	inBoth(t, []string{"--quiet", postgres + "?port=P1"}, []string{"-quiet", postgres + "?port=P1"},
		func(t *testing.T, p program, flags []string) {
			port := freePort(t)
			r := p.start(t, newKit(t), nil, fill(flags, "P1", port)...)
			for !listens(port) {
			}
			_ = wantEcho(t, "127.0.0.1:"+port).Close()
			r.signal(syscall.SIGTERM)
			r.end()
			for line := range strings.Lines(r.text()) {
				if !strings.Contains(line, "SIGTERM") { // the Auth Proxy's last word is an error
					t.Errorf("it writes %q", line)
				}
			}
		})
}

// An instance that cannot be reached: the Auth Proxy is told to look when it
// starts, and ends; with ours, check does so.
func TestConnectionTest(t *testing.T) {
	inBoth(t, []string{"--run-connection-test", postgres + "?port=P1"}, []string{"check", "-timeout", "5s", postgres},
		func(t *testing.T, p program, flags []string) {
			kit, in := oneInstance(t)
			in.Stop()
			if p.name == theirs.name {
				r := p.start(t, kit, nil, fill(flags, "P1", freePort(t))...)
				if r.end() == 0 {
					t.Error("exit status 0")
				}
				return
			}
			p.args = nil
			r := p.startBare(t, nil, append([]string{flags[0], "-endpoint", kit.URL(), "-token", kit.Token()}, flags[1:]...)...)
			r.wait("connection refused", 1)
			if r.end() != 1 {
				t.Errorf("exit status %d", r.end())
			}
		})
}
