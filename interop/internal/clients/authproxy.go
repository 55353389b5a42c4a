package clients

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
)

const (
	authProxyModule = "github.com/GoogleCloudPlatform/cloud-sql-proxy/v2"
	// AuthProxyVersion is the version of the Auth Proxy.
	AuthProxyVersion = "v2.27.0"
)

// AuthProxyProgram builds the Cloud SQL Auth Proxy, with the dependencies of
// its own go.mod, and returns the file's name.
var AuthProxyProgram = sync.OnceValues(func() (string, error) {
	dir, err := cached("cloud-sql-proxy-"+AuthProxyVersion, func(dir string) error {
		return run(dir, []string{"GOBIN=" + dir, "GOWORK=off", "GOFLAGS="}, "go", "install", authProxyModule+"@"+AuthProxyVersion)
	})
	return filepath.Join(dir, "cloud-sql-proxy"), err
})

// AuthProxy is a Cloud SQL Auth Proxy for one instance.
type AuthProxy struct {
	*program
	addr string // where it listens
}

// StartAuthProxy starts the proxy with more arguments than its target needs, and
// returns when it listens: at a port of loopback, or with a folder, at a socket
// there that has the instance's name.
func StartAuthProxy(ctx context.Context, target Target, folder string, more ...string) (*AuthProxy, error) {
	file, err := AuthProxyProgram()
	if err != nil {
		return nil, err
	}
	p := &AuthProxy{}
	args := []string{target.Instance}
	if folder != "" {
		args = append(args, "--unix-socket", folder)
	} else {
		if p.addr, err = freePort(ctx); err != nil {
			return nil, err
		}
		_, port, _ := net.SplitHostPort(p.addr)
		args = append(args, "--port", port)
	}
	cmd := exec.Command(file, append(append(args, target.authProxyArgs()...), more...)...)
	if target.SQLData != "" {
		cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+target.SQLDataCA)
	}
	ready := make(chan struct{})
	p.program, err = start(cmd, func(line string) {
		if strings.Contains(line, "ready for new connections") {
			close(ready)
		}
	})
	if err != nil {
		return nil, err
	}
	select {
	case <-ready:
		return p, nil
	case <-p.ended:
		return nil, p.hasEnded()
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), p.close())
	}
}

// authProxyArgs are what the proxy has to know of its target.
func (t Target) authProxyArgs() []string {
	args := []string{
		"--sqladmin-api-endpoint", t.Endpoint,
		"--enable-builtin-metrics=false", // they go to Google
	}
	if t.Credentials != "" {
		args = append(args, "--credentials-file", t.Credentials)
	}
	if t.IAM {
		args = append(args, "--auto-iam-authn")
	}
	if t.Private {
		args = append(args, "--private-ip")
	}
	if t.Lazy {
		args = append(args, "--lazy-refresh")
	}
	if t.SQLData != "" {
		args = append(args, "--sql-data", "--sqldata-api-endpoint", t.SQLData)
	}
	return args
}

// freePort returns a port of loopback that nobody listens at.
func freePort(ctx context.Context) (addr string, err error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// Dial connects to the proxy, which goes on to the instance.
func (p *AuthProxy) Dial(ctx context.Context) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", p.addr)
}

// failure matches what the proxy writes about a connection that it cannot make.
var failure = regexp.MustCompile(`(?m)^\S+ \S+ (.*(?:failed to connect|error).*)$`)

// Failure returns the first such line, without its time, or "".
func (p *AuthProxy) Failure() string {
	if m := failure.FindStringSubmatch(p.log.String()); m != nil {
		return m[1]
	}
	return ""
}

// Close ends the proxy.
func (p *AuthProxy) Close() error { return p.close() }

// Psql opens the Auth Proxy, with psql.
func Psql(ctx context.Context, target Target) (*Session, error) {
	return withAuthProxy(ctx, target, "psql", []string{"PGPASSWORD=" + target.Password, "PGCONNECT_TIMEOUT=60", "PGSSLMODE=disable"},
		func(socket string) []string {
			return []string{"-h", socket, "-U", target.User, "-w", "-X", "-A", "-t", "-c", "select current_user", target.Database}
		})
}

// MariaDB opens the Auth Proxy, with mariadb.
func MariaDB(ctx context.Context, target Target) (*Session, error) {
	return withAuthProxy(ctx, target, "mariadb", []string{"MYSQL_PWD=" + target.Password},
		func(socket string) []string {
			return []string{"--no-defaults", "--socket=" + socket, "--user=" + target.User, "--batch", "--skip-column-names",
				"--execute=select substring_index(user(), '@', 1)", target.Database}
		})
}

// withAuthProxy starts the proxy. A connection is one run of a program.
func withAuthProxy(ctx context.Context, target Target, program string, env []string, args func(socket string) []string) (*Session, error) {
	if _, err := exec.LookPath(program); err != nil {
		return nil, err
	}
	// The folder of a test has a name too long for a socket.
	dir, err := os.MkdirTemp("", "proxy-*")
	if err != nil {
		return nil, err
	}
	p, err := StartAuthProxy(ctx, target, dir)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return &Session{
		connect: func(ctx context.Context) (string, error) {
			return commandLine(ctx, program, env, args(filepath.Join(dir, target.Instance)))
		},
		close: func() error { return errors.Join(p.Close(), os.RemoveAll(dir)) },
		log:   p.log.String,
	}, nil
}

// commandLine runs a program and returns what it printed.
func commandLine(ctx context.Context, program string, env, args []string) (out string, err error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	text, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", program, err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSpace(string(text)), err
}
