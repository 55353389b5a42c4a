package interop

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
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
	log   tail        // the standard error
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
	cmd.Stderr = &p.log
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
			t.Logf("%s wrote: %s", cmd.Path, &p.log)
		}
	})
	return p
}

// tail is the end of what a program has written. Its methods are safe for
// concurrent use.
type tail struct {
	mu   sync.Mutex // guards text
	text []byte
}

func (t *tail) Write(b []byte) (int, error) {
	const most = 16 << 10
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	t.text = t.text[max(0, len(t.text)-most):]
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.text))
}

// line waits for a line of the standard output.
func (p *process) line(ctx context.Context) (string, error) {
	select {
	case line, ok := <-p.lines:
		if !ok {
			return "", fmt.Errorf("%s has ended: %s", p.cmd.Path, &p.log)
		}
		return line, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}
