package cloudsqldebug_test

import (
	"bytes"
	"context"
	"image/png"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/debug/cloudsqldebug"
)

// browse runs a headless Chromium, which must not leave the machine, and
// returns what it prints.
func browse(t *testing.T, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("there is no chromium")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute) // against a browser that hangs
	defer cancel()
	cmd := exec.CommandContext(ctx, path, append([]string{
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--no-default-browser-check",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions", "--hide-scrollbars",
		"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
		"--user-data-dir=" + t.TempDir(), "--window-size=1100,2300",
	}, args...)...)
	cmd.WaitDelay = 10 * time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("chromium: %v\n%s", err, &stderr)
	}
	if text := stderr.String(); strings.Contains(text, "CONSOLE") {
		t.Errorf("the browser complains about the page: %s", text)
	}
	return string(out)
}

// With CLOUDSQLDEBUG_SCREENSHOTS, a folder, the screenshots are kept there.
func TestABrowserShowsThePage(t *testing.T) {
	t.Parallel()
	s := cloudsqltest.NewServer()
	t.Cleanup(s.Close)
	d := populate(t, s)
	var (
		mu       sync.Mutex
		requests []string
	)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		requests = append(requests, r.Method+" "+r.URL.String())
		mu.Unlock()
		cloudsqldebug.Handler(d).ServeHTTP(w, r)
	}))
	defer web.Close()

	dom := browse(t, "--enable-logging=stderr", "--dump-dom", web.URL+"/")
	if n := strings.Count(dom, "<section class="); n != 5 {
		t.Errorf("%d sections, want 5", n)
	}
	if n := strings.Count(dom, `<rect class="left"`); n != 3 {
		t.Errorf("%d bars, want 3", n)
	}
	for _, want := range []string{readyName, failingName, downName, newName, "&lt;script&gt;alert("} {
		if !strings.Contains(dom, want) {
			t.Errorf("%q is not in the page", want)
		}
	}
	for _, not := range []string{"<script", "<img"} {
		if strings.Contains(dom, not) {
			t.Errorf("%q is in the page", not)
		}
	}

	dir := os.Getenv("CLOUDSQLDEBUG_SCREENSHOTS")
	if dir == "" {
		dir = t.TempDir()
	}
	shots := map[string][]byte{}
	for name, args := range map[string][]string{"light": nil, "dark": {"--blink-settings=preferredColorScheme=0"}, "narrow": {"--window-size=500,3200"}} {
		file := filepath.Join(dir, name+".png")
		browse(t, append(args, "--screenshot="+file, web.URL+"/")...)
		shot, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := png.Decode(bytes.NewReader(shot)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		shots[name] = shot
	}
	if bytes.Equal(shots["light"], shots["dark"]) {
		t.Error("dark is as light")
	}

	mu.Lock()
	defer mu.Unlock()
	if got := strings.Join(requests, ", "); got != "GET /, GET /, GET /, GET /" {
		t.Errorf("the browser asked for %s", got)
	}
}
