package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/engine"
)

// place is where clients of an instance connect.
type place struct {
	address string // "": the engine's own port on 127.0.0.1
	remote  bool   // other machines may reach it
	mode    os.FileMode
	group   *int // nil: this user's
}

func (p *place) setMode(text string) error {
	mode, err := strconv.ParseUint(text, 8, 32)
	if err != nil || mode == 0 || mode > 0o777 {
		return fmt.Errorf("want an octal number such as 0660, got %q", text)
	}
	p.mode = os.FileMode(mode)
	return nil
}

func (p *place) setGroup(text string) error {
	if g, err := user.LookupGroup(text); err == nil {
		text = g.Gid
	}
	id, err := strconv.Atoi(text)
	if err != nil {
		return fmt.Errorf("want a group of this machine, got %q", text)
	}
	p.group = &id
	return nil
}

// named reports whether the address is known without the engine.
func (p *place) named() bool {
	return p.address != "" && (!p.isSocket() || !isFolder(p.address))
}

// isSocket reports whether the address is a path.
func (p *place) isSocket() bool {
	return strings.HasPrefix(p.address, "/") || strings.HasPrefix(p.address, "./") || strings.HasPrefix(p.address, "../")
}

// shared reports whether others than this user are to open the socket.
func (p *place) shared() bool { return p.mode != 0 || p.group != nil }

// fault returns what is wrong with the address.
func (p *place) fault() error {
	if p.address == "" || p.isSocket() {
		return nil
	}
	host, port, err := net.SplitHostPort(p.address)
	if err != nil {
		return fmt.Errorf("want host:port, or the path of a socket: %w", err)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("want a port from 0 to 65535, got %q", port)
	}
	if !p.remote && !isLoopback(host) {
		return fmt.Errorf("other machines can reach %s; want an address such as 127.0.0.1:%s, or -allow-remote", p.address, port)
	}
	return nil
}

// isLoopback reports whether only this machine can reach host.
func isLoopback(host string) bool { return host == "localhost" || net.ParseIP(host).IsLoopback() }

// open listens there.
func (p *place) open(engine string) (net.Listener, error) {
	if p.isSocket() {
		return p.openSocket(engine)
	}
	address := p.address
	if address == "" {
		address = "127.0.0.1:" + enginePort(engine)
	}
	l, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("another program listens on %s, or another instance is served there; want another address, such as 127.0.0.1:0 for a free port, or a parameter such as ?port=5433 for each instance", address)
	}
	return l, err
}

func enginePort(version string) string {
	switch engine.Of(version) {
	case engine.MySQL:
		return "3306"
	case engine.SQLServer:
		return "1433"
	}
	return "5432"
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return strings.HasSuffix(path, "/") || err == nil && info.IsDir()
}

// openSocket listens on a unix socket. One that a program has left behind, which
// nobody answers, is replaced. A folder is made if it is missing.
func (p *place) openSocket(engine string) (net.Listener, error) {
	path := p.address
	if isFolder(path) {
		name, err := socketName(engine)
		if err != nil {
			return nil, err
		}
		if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, os.ErrExist) { // whoever may open the socket has to get there
			return nil, fmt.Errorf("%w", err)
		}
		path = filepath.Join(path, name)
	}
	if len(path) > longestPath {
		return nil, fmt.Errorf("the path of a socket may have %d bytes on this system, got %d: %s", longestPath, len(path), path)
	}
	if err := removeStale(path); err != nil {
		return nil, fmt.Errorf("%w", err)
	}
	l, err := listenPrivately(path)
	if err != nil {
		return nil, fmt.Errorf("%w", err)
	}
	if err := p.share(path); err != nil {
		_ = l.Close()
		return nil, err
	}
	return l, nil
}

// share lets others than this user open the socket.
func (p *place) share(path string) error {
	if p.group != nil {
		if err := os.Chown(path, -1, *p.group); err != nil {
			return fmt.Errorf("-socket-group: %w", err)
		}
	}
	if p.mode != 0 {
		if err := os.Chmod(path, p.mode); err != nil {
			return fmt.Errorf("-socket-mode: %w", err)
		}
	}
	return nil
}

// socketName is the name that the engine's clients look for in a folder.
func socketName(version string) (string, error) {
	switch engine.Of(version) {
	case engine.MySQL:
		return "mysqld.sock", nil
	case engine.SQLServer:
		return "", errors.New("clients of SQL Server know no unix sockets; want host:port")
	}
	return ".s.PGSQL.5432", nil
}

// removeStale removes a socket that nobody answers.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != os.ModeSocket:
		return fmt.Errorf("%s is a file, and no socket; want a path that is free", path)
	}
	const patience = time.Second // it is answered by the kernel, unless the queue is full
	c, err := net.DialTimeout("unix", path, patience)
	switch {
	case err == nil:
		_ = c.Close()
		return fmt.Errorf("another program listens on %s; want another path", path)
	case errors.Is(err, syscall.ECONNREFUSED):
		return os.Remove(path)
	}
	return err
}
