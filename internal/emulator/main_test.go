package emulator

import (
	"bytes"
	"context"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn/internal/test/testmain"
)

func TestMain(m *testing.M) { os.Exit(testmain.Run(m)) }

func wantNil(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// output is what a program writes, while it writes.
type output struct {
	mu   sync.Mutex // guards everything below
	text bytes.Buffer
	said chan struct{} // closed at the first write
}

func newOutput() *output { return &output{said: make(chan struct{})} }

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.text.Len() == 0 {
		defer close(o.said)
	}
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// program is an emulator that runs in this process.
type program struct {
	t              *testing.T
	stdout, stderr *output
	stop           func() int // returns the exit code
}

// startProgram runs the program on free ports, until the end of the test at the
// latest.
func startProgram(t *testing.T, args ...string) *program {
	t.Helper()
	return startProgramWith(t, nil, args...)
}

func startProgramWith(t *testing.T, dbs Embedded, args ...string) *program {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p := &program{t: t, stdout: newOutput(), stderr: newOutput()}
	ended := make(chan int, 1)
	var wg sync.WaitGroup
	wg.Go(func() {
		ended <- Run(ctx, append([]string{"-listen", "127.0.0.1:0", "-control", "localhost:0"}, args...), p.stdout, p.stderr, dbs)
	})
	p.stop = sync.OnceValue(func() int { cancel(); wg.Wait(); return <-ended })
	t.Cleanup(func() { p.stop() })
	select {
	case <-p.stdout.said:
	case code := <-ended:
		ended <- code
		t.Fatalf("exit code %d: %s", code, p.stderr)
	}
	return p
}

// value returns what the output has behind a word, at the beginning of a line.
func (p *program) value(word string) string {
	p.t.Helper()
	want := regexp.MustCompile(`(?m)^` + word + ` +(\S+)`)
	m := want.FindStringSubmatch(p.stdout.String())
	if m == nil {
		p.t.Fatalf("the output has no %q:\n%s", word, p.stdout)
	}
	return m[1]
}

// fails runs the program, which must not start.
func fails(t *testing.T, code int, message string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // should it start
	stdout, stderr := newOutput(), newOutput()
	if got := Run(ctx, args, stdout, stderr, nil); got != code || !strings.Contains(stderr.String(), message) {
		t.Errorf("%q: exit code %d, want %d; %s, want %q", args, got, code, stderr, message)
	}
}

func TestAddressesOffLoopbackAreRefused(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{":0", "0.0.0.0:0", "[::]:0", "192.0.2.1:0"} {
		fails(t, 1, "is not on loopback", "-backend", "echo", "-control", "none", "-listen", addr)
	}
}

func TestCommandLineIsChecked(t *testing.T) {
	t.Parallel()
	for message, args := range map[string][]string{
		"flag provided but not defined":       {"-colour", "red"},
		`unexpected argument "postgres"`:      {"postgres"},
		"unknown engine":                      {"-engine", "oracle"},
		"want project:region:instance":        {"-instance", "my-db"},
		"there is no SQL Server":              {"-engine", "sqlserver"},
		"unknown kind; want delay, hang":      {"-fault", "kind=explode"},
		"quota: want 0 or more":               {"-quota", "-1"},
		"are the same":                        {"-token", "a", "-login-token", "a"},
		"are for one instance without a file": {"-config", exampleFile, "-engine", "mysql"},
		"want host:port, the path of a unix":  {"-backend", "postgres"},
		"no such file":                        {"-config", "missing.yaml"},
	} {
		fails(t, 2, message, args...)
	}
	stderr := newOutput()
	Run(context.Background(), []string{"-fault", "kind=explode"}, newOutput(), stderr, nil)
	if got := stderr.String(); !strings.HasPrefix(got, "cloudsql-emulator: invalid value") || !strings.HasSuffix(got, "\nsee -h\n") || strings.Count(got, "\n") != 2 {
		t.Errorf("a wrong flag: got %s", got)
	}
	stderr = newOutput()
	if code := Run(context.Background(), []string{"-h"}, newOutput(), stderr, nil); code != 0 || !strings.Contains(stderr.String(), "-engine name\n") {
		t.Errorf("-h: exit code %d: %s", code, stderr)
	}
}

func TestVersionIsTold(t *testing.T) {
	t.Parallel()
	stdout := newOutput()
	if code := Run(context.Background(), []string{"--version"}, stdout, newOutput(), nil); code != 0 || !regexp.MustCompile(`^cloudsql-emulator .*, go1\.`).MatchString(stdout.String()) {
		t.Errorf("exit code %d: %s", code, stdout)
	}
}

func TestBuildWithoutADatabaseSaysWhichHasOne(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{"postgres", "mysql"} {
		fails(t, 1, "`go run ./embedded/cmd/cloudsql-emulator` has one; or let auto start", "-engine", engine, "-backend", "embedded", "-listen", "127.0.0.1:0", "-control", "none")
	}
}
