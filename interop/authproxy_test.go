package interop

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const (
	authProxyModule  = "github.com/GoogleCloudPlatform/cloud-sql-proxy/v2"
	authProxyVersion = "v2.27.0"
)

// authProxyProgram builds the Cloud SQL Auth Proxy, with the dependencies of
// its own go.mod, and returns the file's name.
var authProxyProgram = sync.OnceValues(func() (string, error) {
	dir, err := cached("cloud-sql-proxy-"+authProxyVersion, func(dir string) error {
		return run(dir, []string{"GOBIN=" + dir, "GOWORK=off", "GOFLAGS="}, "go", "install", authProxyModule+"@"+authProxyVersion)
	})
	return filepath.Join(dir, "cloud-sql-proxy"), err
})

// startAuthProxy starts the proxy and returns the folder with its sockets.
func startAuthProxy(t *testing.T, w *world) (dir string) {
	t.Helper()
	program, err := authProxyProgram()
	wantInstalled(t, err)
	// The folder of the test has a name too long for a socket.
	dir, err = os.MkdirTemp("", "proxy-*")
	wantNil(t, err)
	t.Cleanup(func() { wantNil(t, os.RemoveAll(dir)) })
	args := []string{
		instanceName,
		"--sqladmin-api-endpoint", w.kit.URL(),
		"--credentials-file", w.credentials,
		"--enable-builtin-metrics=false", // they go to Google
		"--unix-socket", dir,
	}
	if w.iam {
		args = append(args, "--auto-iam-authn")
	}
	if w.private {
		args = append(args, "--private-ip")
	}
	if w.lazy {
		args = append(args, "--lazy-refresh")
	}
	cmd := exec.Command(program, args...)
	if addr := w.sqlDataAddr(); addr != "" {
		cmd.Args = append(cmd.Args, "--sql-data", "--sqldata-api-endpoint", addr)
		cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+w.sqlDataCA)
	}
	p := start(t, cmd)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		line, err := p.line(ctx)
		wantNil(t, err)
		if strings.Contains(line, "ready for new connections") {
			return dir
		}
	}
}

func startPsql(t *testing.T, w *world) session {
	dir := startAuthProxy(t, w)
	return commandLine(t, "psql", []string{"PGPASSWORD=" + w.password(), "PGCONNECT_TIMEOUT=60", "PGSSLMODE=disable"},
		"-h", filepath.Join(dir, instanceName), "-U", w.user(), "-w", "-X", "-A", "-t", "-c", "select current_user", database)
}

func startMariaDB(t *testing.T, w *world) session {
	dir := startAuthProxy(t, w)
	return commandLine(t, "mariadb", []string{"MYSQL_PWD=" + w.password()},
		"--no-defaults", "--socket="+filepath.Join(dir, instanceName), "--user="+w.user(), "--batch", "--skip-column-names",
		"--execute=select substring_index(user(), '@', 1)", database)
}

// commandLine returns a session that is one run of a program.
func commandLine(t *testing.T, program string, env []string, args ...string) session {
	t.Helper()
	_, err := exec.LookPath(program)
	wantInstalled(t, err)
	return func(ctx context.Context) (user string, err error) {
		cmd := exec.CommandContext(ctx, program, args...)
		cmd.Env = append(os.Environ(), env...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			err = fmt.Errorf("%s: %w: %s", program, err, strings.TrimSpace(stderr.String()))
		}
		return strings.TrimSpace(string(out)), err
	}
}
