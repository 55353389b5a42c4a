package bench

import (
	"bytes"
	"context"
	"crypto/rsa"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

const (
	authProxyModule  = "github.com/GoogleCloudPlatform/cloud-sql-proxy/v2"
	authProxyVersion = "v2.27.0"

	authProxyName = "Auth Proxy"
	floorName     = "floor"
)

// portNames is the order of tables.
var portNames = []string{oursName, authProxyName, floorName}

// port is a process that leads the connections to an address of loopback to an
// instance.
type port struct {
	name, addr string
	pid        int
	close      func() error
}

func (p *port) Name() string { return p.name }

// Dial connects to the instance.
func (p *port) Dial(ctx context.Context) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", p.addr)
}

// Close ends the process.
func (p *port) Close() { _ = p.close() }

// buildCommand builds our command.
func buildCommand(ctx context.Context, dir string) error {
	return output(exec.CommandContext(ctx, "go", "build", "-C", "..", "-buildvcs=false", "-o", filepath.Join(dir, "cloudsqlconn"), "./cmd/cloudsqlconn"))
}

// buildAuthProxy builds the Auth Proxy, with the dependencies of its own go.mod.
func buildAuthProxy(ctx context.Context, dir string) error {
	cmd := exec.CommandContext(ctx, "go", "install", authProxyModule+"@"+authProxyVersion)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOBIN="+dir, "GOWORK=off", "GOFLAGS=")
	return output(cmd)
}

// startPort starts the subject of that name.
func startPort(ctx context.Context, name, programs string, t target, key *rsa.PrivateKey) (*port, error) {
	if name == floorName {
		return startFloor(t, key)
	}
	addr, err := freeAddr(ctx)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(filepath.Join(programs, "cloudsqlconn"), "proxy", "-listen", addr, "-quiet", "-token", t.Token, "-endpoint", t.URL, t.Instance)
	if name == authProxyName {
		_, number, _ := net.SplitHostPort(addr)
		cmd = exec.Command(filepath.Join(programs, "cloud-sql-proxy"), "--port", number, "--quiet", "--token", t.Token,
			"--sqladmin-api-endpoint", t.URL, "--enable-builtin-metrics=false", t.Instance)
	}
	var text bytes.Buffer
	cmd.Stderr = &text
	endWithParent(cmd)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &port{name, addr, cmd.Process.Pid, func() error {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it has been killed
		return nil
	}}
	if err := p.ready(ctx); err != nil {
		p.Close()
		return nil, fmt.Errorf("%s: %w\n%s", name, err, text.String())
	}
	return p, nil
}

// ready waits until the instance answers through the port.
func (p *port) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		err := dialOnce(ctx, p)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}

// spent returns what one of n operations has cost, which f does through the port:
// the time, and the CPU of the port's process.
func (p *port) spent(n int, f func() error) (c cost, err error) {
	before, err := usageOf(p.pid)
	if err != nil {
		return c, err
	}
	start := time.Now()
	if err := f(); err != nil {
		return c, fmt.Errorf("%s: %w", p.name, err)
	}
	c.wall = time.Since(start) / time.Duration(n)
	after, err := usageOf(p.pid)
	c.cpu = (after.cpu - before.cpu) / time.Duration(n)
	return c, err
}

// withPorts calls f with a fresh process of each of these kinds, for a target.
func withPorts(ctx context.Context, names []string, programs string, t target, key *rsa.PrivateKey, f func([]*port) error) error {
	var ports []*port
	defer func() {
		for _, p := range ports {
			p.Close()
		}
	}()
	for _, name := range names {
		p, err := startPort(ctx, name, programs, t, key)
		if err != nil {
			return err
		}
		ports = append(ports, p)
	}
	return f(ports)
}

// freeAddr returns an address of loopback that nobody listens at.
func freeAddr(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
