//go:build linux

// Package starved is a soak in which the process under test is starved: it is
// stopped and continued by signals all the time, has one processor, and its
// callers have little time, while databases restart, instances move and calls
// of the Admin API hang.
//
// [Run] is the parent process: it has the servers, causes the faults, sends the
// signals and judges. [Child] is the client: a Dialer, and pools of all drivers.
//
// What fails a run is what [witness.accuse] says of a Dial, a call that takes
// more than [grace] of running time to return after its context has ended, a
// pool that does not work once all is well again, and whatever is left behind.
// Running time is what [heart] measures, so that a busy machine is no reason.
package starved

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

const (
	// silence is how long the child can say nothing until it counts as hung.
	silence = 90 * time.Second

	// atMost is how long it can take beyond the load: to get ready, to end calls,
	// and to let go of all it has.
	atMost = 5 * time.Minute
)

// Run starves a client for so long, and returns why that went wrong.
func Run(duration time.Duration, out io.Writer) (err error) {
	h := &heart{}
	beating, stopBeating := context.WithCancel(context.Background())
	var heartbeat sync.WaitGroup
	heartbeat.Go(func() { h.run(beating) })
	defer heartbeat.Wait()
	defer stopBeating()

	fmt.Fprintln(out, "starting servers")
	s, err := startServers(context.Background())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	striker := newStriker(s)
	orders := s.orders()
	orders.Duration = duration
	c, err := startChild(orders)
	if err != nil {
		return err
	}
	defer c.kill()
	life, end := context.WithTimeout(context.Background(), duration+atMost)
	defer end()
	if _, err := c.hear(life); err != nil {
		return fmt.Errorf("the client does not get ready: %w", err)
	}

	began := now()
	ctx, cancel := context.WithTimeout(context.Background(), duration)
	defer cancel()
	p := &pauser{process: c.cmd.Process}
	var work sync.WaitGroup
	work.Go(func() { p.run(ctx) })
	work.Go(func() { striker.run(ctx) })
	r, err := c.report(life)
	cancel()
	work.Wait()
	if err != nil {
		return err
	}

	w := &witness{began: began, faults: striker.faults, calls: striker.calls, client: r.Ran, server: h.all()}
	fmt.Fprintf(out, "time                %v, of which stopped %v in %d pauses; the client ran %v\n",
		duration, p.stopped.Round(time.Millisecond), p.pauses, r.Ran.within(began, began+duration).Round(time.Millisecond))
	fmt.Fprintf(out, "Admin API calls     %d\n", len(s.kit.Requests()))
	return errors.Join(c.exit(), striker.err, judge(out, r, striker.counts, w))
}

// child is the client's process.
type child struct {
	cmd  *exec.Cmd
	news chan news // closed when no more can come
}

// startChild starts this program again. Linux kills it when the thread that has
// started it ends, hence with this process.
func startChild(o *orders) (*child, error) {
	runtime.LockOSThread()
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childEnv+"=1", "GOMAXPROCS=1", "GOTRACEBACK=all")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &child{cmd: cmd, news: make(chan news)}
	go func() { // ends with the child, which Run waits for
		defer close(c.news)
		for decoder := json.NewDecoder(out); ; {
			var n news
			if decoder.Decode(&n) != nil {
				return
			}
			c.news <- n
		}
	}()
	return c, json.NewEncoder(in).Encode(o)
}

// hear waits for the child's next news. A child that says nothing for long, or
// lives too long, is made to show where it hangs.
func (c *child) hear(life context.Context) (news, error) {
	ctx, cancel := context.WithTimeoutCause(life, silence, fmt.Errorf("it has said nothing for %v", silence))
	defer cancel()
	select {
	case n, ok := <-c.news:
		if !ok {
			return news{}, fmt.Errorf("the client has ended: %w", c.cmd.Wait())
		}
		return n, nil
	case <-ctx.Done():
		_ = c.cmd.Process.Signal(syscall.SIGCONT)
		_ = c.cmd.Process.Signal(syscall.SIGQUIT) // it prints all stacks
		return news{}, fmt.Errorf("the client hangs, its stacks are above: %w (%v)", context.Cause(ctx), c.exit())
	}
}

// report waits for the child's report.
func (c *child) report(life context.Context) (*report, error) {
	for {
		n, err := c.hear(life)
		if err != nil || n.Report != nil {
			return n.Report, err
		}
	}
}

// exit waits for the child to end.
func (c *child) exit() error {
	for range c.news {
	}
	return c.cmd.Wait()
}

// kill ends a child that has not ended.
func (c *child) kill() {
	if c.cmd.ProcessState != nil {
		return
	}
	_ = c.cmd.Process.Kill()
	_ = c.exit()
}
