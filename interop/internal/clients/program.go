package clients

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// program is a program that was started.
type program struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	log   tail          // the standard error
	ended chan struct{} // closed when it has ended, and all its lines are read
}

// start starts a program, and calls line for each line of its standard output,
// one at a time. It ends at the latest with this process.
func start(cmd *exec.Cmd, line func(string)) (*program, error) {
	p := &program{cmd: cmd, ended: make(chan struct{})}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	cmd.Stderr = &p.log
	EndWithThisProcess(cmd)
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() { // until close
		defer close(p.ended)
		for s := bufio.NewScanner(stdout); s.Scan(); {
			line(s.Text())
		}
		_ = cmd.Wait()
	}()
	return p, nil
}

// close tells the program to end, by the end of its standard input and a signal,
// and waits for that.
func (p *program) close() error {
	_ = p.stdin.Close()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
		return nil
	case <-time.After(10 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.ended
		return fmt.Errorf("%s does not end; it was killed", p.cmd.Path)
	}
}

// PID is the number of its process.
func (p *program) PID() int { return p.cmd.Process.Pid }

// hasEnded is the error of a program that ended by itself.
func (p *program) hasEnded() error {
	return fmt.Errorf("%s has ended: %s", p.cmd.Path, &p.log)
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
	return string(t.text)
}
