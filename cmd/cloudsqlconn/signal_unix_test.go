//go:build unix

package main

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// process is the program in a process of its own, with a connection through it.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	log  *bufio.Scanner
	conn net.Conn
}

func startProcess(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.CommandContext(t.Context(), os.Args[0], append([]string{"proxy", "-listen", "127.0.0.1:0"}, append(args, instance)...)...)}
	p.cmd.Env = append(os.Environ(), child+"=1")
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.log = bufio.NewScanner(stderr)
	_, line, _ := strings.Cut(p.wait("listening on "), "listening on ")
	address, _, _ := strings.Cut(line, `"`)
	if p.conn, err = net.Dial("tcp", address); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.conn.Close() })
	p.wantEcho()
	return p
}

// wait returns the next line of the log with text in it.
func (p *process) wait(text string) string {
	p.t.Helper()
	for p.log.Scan() {
		if strings.Contains(p.log.Text(), text) {
			return p.log.Text()
		}
	}
	p.t.Fatalf("the log has ended before %q", text)
	return ""
}

func (p *process) wantEcho() {
	p.t.Helper()
	b := make([]byte, 5)
	_, _ = io.WriteString(p.conn, "hello")
	if _, err := io.ReadFull(p.conn, b); err != nil || string(b) != "hello" {
		p.t.Errorf("%q, %v", b, err)
	}
}

func (p *process) signal() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Error(err)
	}
}

// end returns how the process has ended.
func (p *process) end() syscall.WaitStatus {
	p.t.Helper()
	for p.log.Scan() {
	}
	var failed *exec.ExitError
	if err := p.cmd.Wait(); err != nil && !errors.As(err, &failed) {
		p.t.Error(err)
	}
	return p.cmd.ProcessState.Sys().(syscall.WaitStatus)
}

func TestASignalWaitsForConnections(t *testing.T) {
	t.Parallel()
	p := startProcess(t, "-exit-status", "3")
	p.signal()
	p.wait("a second signal stops at once")
	p.wait("connections=1")
	p.wantEcho()
	_ = p.conn.Close()
	if end := p.end(); end.ExitStatus() != 3 {
		t.Errorf("got %#x", end)
	}
}

func TestASecondSignalStopsAtOnce(t *testing.T) {
	t.Parallel()
	p := startProcess(t, "-drain", "1h")
	p.signal()
	p.wait("connections=1")
	p.wantEcho()
	p.signal()
	if end := p.end(); end.ExitStatus() != 128+int(syscall.SIGTERM) {
		t.Errorf("got %#x", end)
	}
}

func TestClientsAreAcceptedForAWhile(t *testing.T) {
	t.Parallel()
	p := startProcess(t, "-accept-for", "1h")
	p.signal()
	p.wait("a second signal stops at once")
	wantEcho(t, p.conn.RemoteAddr().String())
	p.signal()
	if end := p.end(); end.ExitStatus() != 128+int(syscall.SIGTERM) {
		t.Errorf("got %#x", end)
	}
}
