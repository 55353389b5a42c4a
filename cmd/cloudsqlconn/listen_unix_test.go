//go:build unix

package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// leaveSocket leaves a socket that nobody listens on, as a program does that was
// killed.
func leaveSocket(t *testing.T, path string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = l.Close()
}

func TestASocketThatNobodyAnswersIsReplaced(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "db.sock")
	leaveSocket(t, path)
	p := startProxy(t, newEcho(t), "-listen", path, instance)
	wantEcho(t, p.listening())
	p.wantEnd(exitOK)
}

func TestSocketsAreNamedAsClientsExpectThem(t *testing.T) {
	t.Parallel()
	s := newEcho(t)
	for name, file := range map[string]string{instance: ".s.PGSQL.5432", otherInstance: "mysqld.sock"} {
		dir := filepath.Join(t.TempDir(), "missing")
		p := startProxy(t, s, "-listen", dir+"/", name)
		if got, want := p.listening(), filepath.Join(dir, file); got != want {
			t.Errorf("%s, want %s", got, want)
		}
		wantEcho(t, filepath.Join(dir, file))
		p.wantEnd(exitOK)
	}
}

func TestWhoMayOpenASocket(t *testing.T) {
	t.Parallel()
	s := newEcho(t)
	group := strconv.Itoa(os.Getgid())
	for _, tt := range []struct {
		flags []string
		want  os.FileMode
	}{
		{nil, 0o600},
		{[]string{"-socket-mode", "0660", "-socket-group", group}, 0o660},
		{[]string{"-socket-mode", "777"}, 0o777},
	} {
		path := filepath.Join(t.TempDir(), "db.sock")
		p := startProxy(t, s, append(tt.flags, "-listen", path, instance)...)
		p.listening()
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != tt.want {
			t.Errorf("%v: %v, want %v", tt.flags, got, tt.want)
		}
		if got := strconv.Itoa(int(info.Sys().(*syscall.Stat_t).Gid)); got != group {
			t.Errorf("%v: group %s, want %s", tt.flags, got, group)
		}
		p.wantEnd(exitOK)
	}
}

// Nobody but this user can open a socket before its mode is set.
func TestASocketIsPrivateFromItsFirstMoment(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "db.sock")
	l, err := listenPrivately(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestPathsThatAreNoFreeSocket(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, taken := filepath.Join(dir, "file"), filepath.Join(dir, "taken")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "unix", taken)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for path, want := range map[string]string{
		file:  "is a file, and no socket",
		taken: "another program listens on",
		filepath.Join(dir, strings.Repeat("x", 99)): "may have " + strconv.Itoa(longestPath) + " bytes",
		filepath.Join(dir, "missing", "db.sock"):    "no such file or directory",
	} {
		if _, err := (&place{address: path}).open("POSTGRES_17"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", path, err, want)
		}
	}
	if _, err := (&place{address: dir}).open("SQLSERVER_2022_WEB"); err == nil || !strings.Contains(err.Error(), "want host:port") {
		t.Errorf("SQL Server: got %v", err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(taken); err != nil {
		t.Error(err)
	}
	port := listenTCP(t)
	if _, err := (&place{address: port}).open("POSTGRES_17"); err == nil || !strings.Contains(err.Error(), "another program listens on "+port) {
		t.Errorf("got %v", err)
	}
}

func listenTCP(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}
