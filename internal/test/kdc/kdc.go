// Package kdc starts a private Kerberos realm from the programs of MIT Kerberos
// that are installed on the machine, for tests. It needs no root, listens on a
// port of 127.0.0.1, and keeps all its files in a temporary folder. It is not
// Active Directory: its tickets say nothing of groups. It knows nothing of
// SQL Server.
package kdc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// ErrNotInstalled is wrapped by the error that reports a missing program.
var ErrNotInstalled = errors.New("kdc: not installed")

const (
	startTimeout = time.Minute
	pollInterval = 10 * time.Millisecond
)

// Server is the server of a realm. Its methods must not be called at the same
// time, but for Config.
type Server struct {
	realm string
	dir   string // holds everything
	port  int
	life  io.WriteCloser // as long as it is open, the server lives
	cmd   *exec.Cmd
}

// Start starts the server of a new realm, such as "AD.EXAMPLE.COM", and returns
// once it answers.
func Start(ctx context.Context, realm string) (_ *Server, err error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	s := &Server{realm: realm}
	if s.dir, err = os.MkdirTemp("", "kdc-"); err != nil {
		return nil, fmt.Errorf("kdc: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	// Below the ephemeral ports of Linux and macOS, as internal/dbserver.
	for s.port = 0; s.port == 0 || taken(s.addr()); {
		s.port = 20000 + rand.IntN(12000)
	}
	if err := s.configure(); err != nil {
		return nil, err
	}
	if _, err := s.run(ctx, "kdb5_util", "-P", "master", "create", "-s"); err != nil {
		return nil, err
	}
	return s, s.start(ctx)
}

func (s *Server) addr() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

func taken(addr string) bool {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return true
	}
	l.Close()
	return false
}

// Config returns the path of a krb5.conf for clients of the realm. It does not
// say that names are looked up in the DNS.
func (s *Server) Config() string { return filepath.Join(s.dir, "krb5.conf") }

func (s *Server) configure() error {
	client := fmt.Sprintf(`[libdefaults]
 default_realm = %[1]s
 default_keytab_name = %[3]s/none
 udp_preference_limit = 1
[realms]
 %[1]s = {
  kdc = %[2]s
 }
`, s.realm, s.addr(), s.dir)
	server := fmt.Sprintf(`[realms]
 %[1]s = {
  database_name = %[3]s/principal
  key_stash_file = %[3]s/stash
  acl_file = %[3]s/acl
  kdc_listen = %[2]s
  kdc_tcp_listen = %[2]s
 }
[logging]
 kdc = FILE:%[3]s/log
`, s.realm, s.addr(), s.dir)
	return errors.Join(
		os.WriteFile(s.Config(), []byte(client), 0o600),
		os.WriteFile(filepath.Join(s.dir, "kdc.conf"), []byte(server), 0o600))
}

// start starts krb5kdc under a shell that stops it when its own input ends: at
// Close, or with this process, however that ends.
func (s *Server) start(ctx context.Context) error {
	program, err := find("krb5kdc")
	if err != nil {
		return err
	}
	s.cmd = s.command(context.WithoutCancel(ctx), "/bin/sh", "-c", `"$0" -n & read -r end; kill $!; wait`, program)
	if s.life, err = s.cmd.StdinPipe(); err != nil {
		return fmt.Errorf("kdc: %w", err)
	}
	if err := s.cmd.Start(); err != nil {
		s.cmd = nil
		return fmt.Errorf("kdc: %w", err)
	}
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for !taken(s.addr()) {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			return fmt.Errorf("kdc: krb5kdc does not start: %w\n%s", context.Cause(ctx), log)
		}
	}
	return nil
}

// AddUser adds a user with a password.
func (s *Server) AddUser(ctx context.Context, name, password string) error {
	return s.admin(ctx, "addprinc", "-pw", password, name)
}

// AddService adds a service, such as "MSSQLSvc/db.example.com:1433", with a
// random key, and returns the path of a keytab that has it.
func (s *Server) AddService(ctx context.Context, name string) (keytab string, err error) {
	if err := s.admin(ctx, "addprinc", "-randkey", name); err != nil {
		return "", err
	}
	return s.Keytab(ctx, name)
}

// Keytab returns the path of a keytab with the key of a user or service, whose
// password stays valid.
func (s *Server) Keytab(ctx context.Context, name string) (string, error) {
	f, err := os.CreateTemp(s.dir, "keytab-")
	if err != nil {
		return "", fmt.Errorf("kdc: %w", err)
	}
	f.Close()
	if err := os.Remove(f.Name()); err != nil { // an empty file is no keytab
		return "", fmt.Errorf("kdc: %w", err)
	}
	return f.Name(), s.admin(ctx, "ktadd", "-norandkey", "-k", f.Name(), name)
}

// Cache logs a user in with kinit and a keytab, and returns the path of the
// credential cache.
func (s *Server) Cache(ctx context.Context, user, keytab string) (string, error) {
	path := keytab + ".cache"
	_, err := s.run(ctx, "kinit", "-c", "FILE:"+path, "-k", "-t", keytab, user)
	return path, err
}

// admin runs a command of kadmin.local, which reports failures in its output
// alone.
func (s *Server) admin(ctx context.Context, args ...string) error {
	out, err := s.run(ctx, "kadmin.local", args...)
	if err == nil && (strings.Contains(out, args[0]+":") || strings.Contains(out, "kadmin.local:")) {
		err = fmt.Errorf("kdc: %s", out)
	}
	return err
}

func (s *Server) run(ctx context.Context, program string, args ...string) (string, error) {
	path, err := find(program)
	if err != nil {
		return "", err
	}
	out, err := s.command(ctx, path, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("kdc: %s: %w\n%s", program, err, out)
	}
	return string(out), nil
}

func (s *Server) command(ctx context.Context, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = s.dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "LC_ALL=C",
		"KRB5_CONFIG=" + s.Config(), "KRB5_KDC_PROFILE=" + filepath.Join(s.dir, "kdc.conf"),
	}
	return cmd
}

// find returns the path of a program, which can be in a folder for the
// administrator.
func find(program string) (string, error) {
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/opt/krb5/sbin") {
		if path, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%w: %s; apt-get install krb5-kdc krb5-admin-server krb5-user, or brew install krb5", ErrNotInstalled, program)
}

// Close stops the server and removes its files. To close it again does nothing.
func (s *Server) Close() error {
	var err error
	if s.cmd != nil {
		_ = s.life.Close()
		err = s.cmd.Wait()
		s.cmd = nil
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = nil // killed
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}
