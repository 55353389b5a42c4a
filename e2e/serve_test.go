package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn"
)

// serve opens a door to an instance at l, until the test ends.
func (i *instance) serve(t *testing.T, l net.Listener, name string, opts ...cloudsqlconn.ServeOption) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- i.dialer.Serve(ctx, l, name, opts...) }()
	t.Cleanup(func() {
		stop()
		wantNil(t, <-done)
	})
}

// client runs the command line client of an engine against an address, and
// returns what it prints.
func (e *engine) client(t *testing.T, l net.Listener, query string) (string, error) {
	t.Helper()
	var args []string
	addr := l.Addr().String()
	_, port, _ := net.SplitHostPort(addr)
	switch unix := l.Addr().Network() == "unix"; {
	case e.mysql() && unix:
		args = e.mysqlClient("mysql", "--socket="+addr, "--user=app", "--password=secret", "-N", "-B", "-e", query)
	case e.mysql():
		args = e.mysqlClient("mysql", "--host=127.0.0.1", "--port="+port, "--user=app", "--password=secret", "-N", "-B", "-e", query)
	case unix:
		port := strings.TrimPrefix(filepath.Base(addr), ".s.PGSQL.")
		args = []string{"psql", "-X", "-At", "-d", fmt.Sprintf("host=%s port=%s user=app password=secret dbname=%s", filepath.Dir(addr), port, sharedDatabase), "-c", query}
	default:
		args = []string{"psql", "-X", "-At", "-d", fmt.Sprintf("host=127.0.0.1 port=%s user=app password=secret dbname=%s", port, sharedDatabase), "-c", query}
	}
	return run(t, args)
}

// run runs a program and returns what it prints to its standard output or, if
// it fails, all that it prints.
func run(t *testing.T, args []string) (string, error) {
	t.Helper()
	cmd := osexec.CommandContext(t.Context(), args[0], args[1:]...)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if err != nil {
		return strings.TrimSpace(stderr.String() + stdout.String()), err
	}
	return strings.TrimSpace(stdout.String()), nil
}

func (e *engine) mysql() bool { return slices.Contains(mysqlEngines, e) }

// mysqlClient is the command line of the engine's own client; of MySQL, program
// can be another than mysql. It does without TLS, and with the server's RSA key.
func (e *engine) mysqlClient(program string, args ...string) []string {
	line := []string{filepath.Join(os.Getenv("MYSQL_97_BIN"), program), "--no-defaults", "--ssl-mode=DISABLED", "--get-server-public-key"}
	if e == mysqlEngine {
		line = []string{"mariadb", "--no-defaults", "--skip-ssl"}
	}
	return append(line, args...)
}

// listeners are a TCP and a unix listener, where clients look for them.
func listeners(t *testing.T) []net.Listener {
	t.Helper()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	wantNil(t, err)
	unix, err := net.Listen("unix", filepath.Join(t.TempDir(), ".s.PGSQL.5432"))
	wantNil(t, err)
	return []net.Listener{tcp, unix}
}

func TestCommandLineClientsThroughServe(t *testing.T) {
	eachEngine(t, func(t *testing.T, e *engine) {
		i := e.newInstance(t)
		for _, l := range listeners(t) {
			i.serve(t, l, instanceName)
			for range 2 {
				if got, err := e.client(t, l, "select 6 * 7"); got != "42" || err != nil {
					t.Errorf("%s: %q, %v", l.Addr().Network(), got, err)
				}
			}
		}
	})
}

// The clients print what Serve tells them.
func TestCommandLineClientsAreToldWhyTheyAreNotConnected(t *testing.T) {
	eachEngine(t, func(t *testing.T, e *engine) {
		i := e.newInstance(t)
		for _, l := range listeners(t) {
			i.serve(t, l, "my-project:europe-west1:missing")
			got, err := e.client(t, l, "select 6 * 7")
			if err == nil || !strings.Contains(got, "cloudsqlconn") || !strings.Contains(got, "instance does not exist") {
				t.Errorf("%s: the client printed %q, %v", l.Addr().Network(), got, err)
			}
		}
	})
}
