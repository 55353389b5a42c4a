package dbserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"
)

const (
	pollInterval = 10 * time.Millisecond
	readyTimeout = 5 * time.Second // for each attempt
	stopTimeout  = 5 * time.Second // for each signal
)

// command returns a command that runs as the user of the server, in its folder
// and without the caller's settings for clients, such as PGHOST.
func (s *Server) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = s.dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "TMPDIR=" + s.dir, "LC_ALL=C", "PGCLIENTENCODING=UTF8",
	}
	cmd.SysProcAttr = s.sys
	return cmd
}

// run runs the program to its end and returns what it printed, which is also
// in the error.
func (s *Server) run(ctx context.Context, program string, args ...string) (string, error) {
	// See startProcess.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	cmd := s.command(ctx, program, args...)
	cmd.Cancel = func() error { return killGroup(cmd.Process) }
	out, err := cmd.CombinedOutput()
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return "", fmt.Errorf("dbserver: %s: %w\n%s", filepath.Base(program), err, tail(out))
	}
	return string(out), nil
}

// startLocked starts the server program and waits until it accepts logins.
func (s *Server) startLocked(ctx context.Context) error {
	name := filepath.Join(s.dir, "log")
	log, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("dbserver: %w", err)
	}
	defer log.Close()
	// ctx ends the wait, not the server.
	cmd := s.command(context.WithoutCancel(ctx), s.program, append(s.engine.serverArgs(s), s.opts.Args...)...)
	cmd.Stdout, cmd.Stderr = log, log
	if s.proc, err = startProcess(cmd); err != nil {
		return fmt.Errorf("dbserver: %w", err)
	}

	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for !s.ready(ctx) {
		select {
		case <-ticker.C:
			continue
		case <-s.proc.exited:
			err = errors.New(s.proc.cmd.ProcessState.String())
		case <-ctx.Done():
			err = errors.Join(context.Cause(ctx), s.stopLocked())
		}
		text, _ := os.ReadFile(name)
		return fmt.Errorf("dbserver: starting %s: %w\n%s", s.engine.server, err, tail(text))
	}
	return nil
}

func (s *Server) stopLocked() error {
	if s.proc == nil {
		return nil
	}
	for _, sig := range s.engine.stopSignals {
		_ = s.proc.cmd.Process.Signal(sig) // fails only if the process is gone
		select {
		case <-s.proc.exited:
			return nil
		case <-time.After(stopTimeout):
		}
	}
	return fmt.Errorf("dbserver: %s, process %d, does not stop", s.engine.server, s.proc.cmd.Process.Pid)
}

// ready tries the Unix socket, as no other server can answer there.
func (s *Server) ready(ctx context.Context) bool {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", s.SocketAddr())
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(readyTimeout))
	return s.engine.ready(conn)
}

// process is a running or exited server program.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed once cmd.ProcessState is set
}

// startProcess starts cmd, which must write to files only.
func startProcess(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, exited: make(chan struct{})}
	started := make(chan error)
	go func() { // ends when the process does, which stopLocked waits for
		// Linux sends Pdeathsig when the thread that forked ends, even if the
		// process goes on. This keeps the thread until the server exits.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
			close(p.exited)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

func (p *process) running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// tail returns the last lines of a log.
func tail(log []byte) []byte {
	log = bytes.TrimSpace(log)
	const size = 2000
	if len(log) > size {
		log = log[len(log)-size:]
		log = log[bytes.IndexByte(log, '\n')+1:]
	}
	return log
}
