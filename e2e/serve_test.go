package e2e

import (
	"context"
	"fmt"
	"net"
	osexec "os/exec"
	"path/filepath"
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
	var cmd *osexec.Cmd
	addr := l.Addr().String()
	switch {
	case e == mysqlEngine && l.Addr().Network() == "unix":
		cmd = osexec.CommandContext(t.Context(), "mariadb", "--no-defaults", "--skip-ssl", "--socket="+addr, "--user=app", "--password=secret", "-N", "-B", "-e", query)
	case e == mysqlEngine:
		_, port, _ := net.SplitHostPort(addr)
		cmd = osexec.CommandContext(t.Context(), "mariadb", "--no-defaults", "--skip-ssl", "--host=127.0.0.1", "--port="+port, "--user=app", "--password=secret", "-N", "-B", "-e", query)
	case l.Addr().Network() == "unix":
		port := strings.TrimPrefix(filepath.Base(addr), ".s.PGSQL.")
		cmd = osexec.CommandContext(t.Context(), "psql", "-X", "-At", "-d", fmt.Sprintf("host=%s port=%s user=app password=secret dbname=%s", filepath.Dir(addr), port, sharedDatabase), "-c", query)
	default:
		_, port, _ := net.SplitHostPort(addr)
		cmd = osexec.CommandContext(t.Context(), "psql", "-X", "-At", "-d", fmt.Sprintf("host=127.0.0.1 port=%s user=app password=secret dbname=%s", port, sharedDatabase), "-c", query)
	}
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
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
