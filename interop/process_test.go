package interop

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is a program that a test has started.
type process struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines chan string // of the standard output; closed at its end

	mu     sync.Mutex // guards errors
	errors []byte     // the standard error
}

// start starts a program, which ends at the latest when the test does.
func start(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{cmd: cmd, lines: make(chan string, 100)}
	stdin, err := cmd.StdinPipe()
	wantNil(t, err)
	p.stdin = stdin
	stdout, err := cmd.StdoutPipe()
	wantNil(t, err)
	cmd.Stderr = p
	setDeathSignal(cmd)
	cmd.WaitDelay = 5 * time.Second
	wantNil(t, cmd.Start())
	exited := make(chan struct{})
	go func() { // until stop
		defer close(exited)
		defer close(p.lines)
		for s := bufio.NewScanner(stdout); s.Scan(); {
			select {
			case p.lines <- s.Text():
			default: // nobody reads: a log
			}
		}
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-exited:
		case <-time.After(10 * time.Second):
			t.Errorf("%s does not end; it is killed", cmd.Path)
			_ = cmd.Process.Kill()
			<-exited
		}
		if t.Failed() {
			t.Logf("%s wrote: %s", cmd.Path, p.text())
		}
	})
	return p
}

// Write takes the standard error.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.errors = append(p.errors, b...)
	return len(b), nil
}

func (p *process) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return string(p.errors)
}

// line waits for a line of the standard output.
func (p *process) line(ctx context.Context) (string, error) {
	select {
	case line, ok := <-p.lines:
		if !ok {
			return "", fmt.Errorf("%s has ended: %s", p.cmd.Path, p.text())
		}
		return line, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}
