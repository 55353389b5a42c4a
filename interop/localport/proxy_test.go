// Package localport tests what README.md says of cloudsqlconn proxy and of the
// Cloud SQL Auth Proxy, flag by flag: both programs run side by side, against the
// same instances.
package localport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/interop/internal/clients"
)

const (
	postgres = "my-project:europe-west1:my-pg"
	mysql    = "my-project:europe-west1:my-sql"
)

// ourProgram builds the command of this module.
var ourProgram = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "localport-*")
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "cloudsqlconn")
	build := exec.Command("go", "build", "-o", file, "./cmd/cloudsqlconn")
	build.Dir = "../.." // what the command needs is in the root's go.mod
	out, err := build.CombinedOutput()
	if err != nil {
		err = errors.New(string(out))
	}
	return file, err
})

func TestMain(m *testing.M) {
	code := m.Run()
	if file, err := ourProgram(); err == nil {
		_ = os.RemoveAll(filepath.Dir(file))
	}
	os.Exit(code)
}

// program is one of the two.
type program struct {
	name  string
	file  func() (string, error)
	args  []string // before all others
	ready string   // what it writes when clients can connect
}

var (
	theirs = program{"auth-proxy", clients.AuthProxyProgram, []string{"--enable-builtin-metrics=false"}, "ready for new connections"}
	ours   = program{"cloudsqlconn", ourProgram, []string{"proxy"}, "listening on"}
)

// inBoth runs a test of each program, with the flags of its own.
func inBoth(t *testing.T, theirFlags, ourFlags []string, test func(t *testing.T, p program, flags []string)) {
	t.Helper()
	t.Parallel()
	for _, p := range []struct {
		program
		flags []string
	}{{theirs, theirFlags}, {ours, ourFlags}} {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			test(t, p.program, p.flags)
		})
	}
}

// newKit returns an Admin API with two instances that echo.
func newKit(t *testing.T) *cloudsqltest.Server {
	t.Helper()
	kit := cloudsqltest.NewServer()
	t.Cleanup(kit.Close)
	kit.AddInstance(postgres, cloudsqltest.Instance{Handler: cloudsqltest.Echo, ListenOn3307: true})
	kit.AddInstance(mysql, cloudsqltest.Instance{Handler: cloudsqltest.Echo, ListenOn3307: true, DatabaseVersion: "MYSQL_8_4"})
	return kit
}

// running is a program that runs.
type running struct {
	t     *testing.T
	cmd   *exec.Cmd
	ended chan struct{}

	mu      sync.Mutex
	output  bytes.Buffer  // guarded by mu
	written chan struct{} // closed and replaced when there is more output; guarded by mu
}

func (r *running) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.written)
	r.written = make(chan struct{})
	return r.output.Write(b)
}

// start starts a program for the kit's instances, with its token. It ends with the
// test at the latest.
func (p program) start(t *testing.T, kit *cloudsqltest.Server, env []string, args ...string) *running {
	t.Helper()
	endpoint := map[string]string{theirs.name: "--sqladmin-api-endpoint", ours.name: "-endpoint"}[p.name]
	return p.startBare(t, append(env, p.variable("TOKEN")+"="+kit.Token()), append([]string{endpoint, kit.URL()}, args...)...)
}

// variable is the environment variable of a flag.
func (p program) variable(flag string) string {
	return map[string]string{theirs.name: "CSQL_PROXY_", ours.name: "CLOUDSQLCONN_"}[p.name] + flag
}

// startBare starts a program.
func (p program) startBare(t *testing.T, env []string, args ...string) *running {
	t.Helper()
	file, err := p.file()
	if err != nil {
		t.Fatal(err)
	}
	r := &running{t: t, cmd: exec.Command(file, append(p.args[:len(p.args):len(p.args)], args...)...), ended: make(chan struct{}), written: make(chan struct{})}
	r.cmd.Env = append(os.Environ(), env...)
	r.cmd.Stdout, r.cmd.Stderr = r, r
	clients.EndWithThisProcess(r.cmd)
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // until the program ends, with the test at the latest
		_ = r.cmd.Wait()
		close(r.ended)
	}()
	t.Cleanup(func() {
		_ = r.cmd.Process.Kill()
		<-r.ended
		if t.Failed() {
			t.Logf("%s %q wrote:\n%s", p.name, args, r.text())
		}
	})
	return r
}

func (r *running) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.output.String()
}

// wait waits for a text in what the program writes, n times.
func (r *running) wait(text string, n int) {
	r.t.Helper()
	for {
		r.mu.Lock()
		found, more := strings.Count(r.output.String(), text) >= n, r.written
		r.mu.Unlock()
		if found {
			return
		}
		select {
		case <-more:
		case <-r.ended:
			if strings.Count(r.text(), text) < n {
				r.t.Fatalf("it has ended, without %q:\n%s", text, r.text())
			}
		}
	}
}

// signal sends a signal.
func (r *running) signal(s syscall.Signal) {
	r.t.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		r.t.Fatal(err)
	}
}

// end waits for the program's end, and returns the exit status.
func (r *running) end() int {
	<-r.ended
	return r.cmd.ProcessState.ExitCode()
}

// hasEnded reports whether the program has.
func (r *running) hasEnded() bool {
	select {
	case <-r.ended:
		return true
	default:
		return false
	}
}

// connect connects to a port or a socket.
func connect(t *testing.T, address string) net.Conn {
	t.Helper()
	network := "tcp"
	if strings.HasPrefix(address, "/") {
		network = "unix"
	}
	c, err := new(net.Dialer).DialContext(t.Context(), network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// echoes reports whether a connection leads to the instance.
func echoes(c net.Conn) bool {
	_, _ = io.WriteString(c, "hello")
	b := make([]byte, 5)
	_, err := io.ReadFull(c, b)
	return err == nil && string(b) == "hello"
}

// wantEcho checks that address leads to the instance.
func wantEcho(t *testing.T, address string) net.Conn {
	t.Helper()
	c := connect(t, address)
	if !echoes(c) {
		t.Errorf("no echo from %s", address)
	}
	return c
}

// ports are below those that systems give to clients, and to who asks for port 0:
// none of them is taken between the look and the start of a program.
var ports atomic.Int32

// freePort returns a port that nobody listens on, and that no other test gets.
func freePort(t *testing.T) string {
	t.Helper()
	for {
		port := strconv.Itoa(20000 + int(ports.Add(1)))
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:"+port)
		if err == nil {
			_ = l.Close()
			return port
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatal(err)
		}
	}
}

// folder returns one with a name that is short enough for sockets.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "port-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// ask returns the status and the body, or 0 if nobody answers.
func ask(t *testing.T, method, url string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text)
}

// fill puts what is only known in the test into flags.
func fill(flags []string, pairs ...string) []string {
	r := strings.NewReplacer(pairs...)
	var filled []string
	for _, f := range flags {
		filled = append(filled, r.Replace(f))
	}
	return filled
}

// oneInstance returns an Admin API with an instance that echoes.
func oneInstance(t *testing.T) (*cloudsqltest.Server, *cloudsqltest.EmulatedInstance) {
	t.Helper()
	kit := cloudsqltest.NewServer()
	t.Cleanup(kit.Close)
	return kit, kit.AddInstance(postgres, cloudsqltest.Instance{Handler: cloudsqltest.Echo, ListenOn3307: true})
}

// listens reports whether somebody listens on a port.
func listens(port string) bool {
	c, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

// writeFile returns the name of a file with text.
func writeFile(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
