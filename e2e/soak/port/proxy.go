//go:build linux

package port

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// proxy is the process under test.
type proxy struct {
	program, addr, socket string
	args                  []string
	starved               bool

	cmd    *exec.Cmd
	stderr *buffer
}

// buffer can be read while it is written.
type buffer struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func newProxy(program, dir string, server *cloudsqltest.Server, instances [2]*cloudsqltest.EmulatedInstance) (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{program: program, addr: l.Addr().String(), socket: filepath.Join(dir, "socket")}
	p.args = []string{"proxy", "-quiet", "-drain", "500ms", "-endpoint", server.URL(), "-token", server.Token(),
		instances[0].String() + "?listen=" + p.addr, instances[1].String() + "?listen=" + p.socket}
	return p, l.Close()
}

const startTimeout = time.Minute

// start starts the process, and returns when both ports listen.
func (p *proxy) start(starved bool) error {
	p.starved, p.stderr = starved, new(buffer)
	p.cmd = exec.Command(p.program, p.args...)
	p.cmd.Stderr = p.stderr
	p.cmd.Env = append(os.Environ(), "GOTRACEBACK=all")
	if starved {
		p.cmd.Env = append(p.cmd.Env, "GOMAXPROCS=1")
	}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for _, at := range [][2]string{{"tcp", p.addr}, {"unix", p.socket}} {
		if err := awaitListener(ctx, at[0], at[1]); err != nil {
			return fmt.Errorf("%w: %s", err, p.log())
		}
	}
	return nil
}

func awaitListener(ctx context.Context, network, addr string) error {
	for {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err == nil {
			return c.Close()
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}

// log is what the process has written.
func (p *proxy) log() string {
	const most = 4 << 10
	text := p.stderr.String()
	return text[max(0, len(text)-most):]
}

// kill ends the process as the system does when memory is short.
func (p *proxy) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait() // it has been killed
}

// stop ends the process in an orderly way: nothing is left of it.
func (p *proxy) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	timer := time.AfterFunc(startTimeout, func() { _ = p.cmd.Process.Kill() })
	err := p.cmd.Wait()
	timer.Stop()
	if err != nil {
		return fmt.Errorf("after TERM: %w: %s", err, p.log())
	}
	if _, err := os.Lstat(p.socket); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("after TERM, the socket is still there: %v", err) //nolint:errorlint // mostly nil
	}
	return nil
}

// resources are what a process has.
type resources struct {
	files    int
	resident int // bytes
}

func (p *proxy) resources() (r resources, err error) {
	root := filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid))
	files, err := os.ReadDir(filepath.Join(root, "fd"))
	if err != nil {
		return r, err
	}
	text, err := os.ReadFile(filepath.Join(root, "statm"))
	if err != nil {
		return r, err
	}
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	return resources{len(files), pages * os.Getpagesize()}, err
}

// settled returns the resources when no client has been there for a while.
func (p *proxy) settled() (resources, error) {
	time.Sleep(4 * time.Second) // the grace of a door is 2 s
	return p.resources()
}

const (
	spareFiles  = 8        // connections to the Admin API that are kept
	spareMemory = 16 << 20 // what the collector leaves for later
)

// nothingLeft returns what is left of the clients, and ends the process.
func (s *soak) nothingLeft(before resources, out io.Writer) error {
	after, err := s.proxy.settled()
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "open files         %d, before the last load %d\n", after.files, before.files)
	fmt.Fprintf(out, "RSS                %d MiB, before the last load %d MiB\n", after.resident>>20, before.resident>>20)
	if after.files > before.files+spareFiles {
		return fmt.Errorf("%d files are open, %d before the load", after.files, before.files)
	}
	if after.resident > before.resident+spareMemory {
		return fmt.Errorf("the process has %d bytes of memory, %d before the load", after.resident, before.resident)
	}
	for _, i := range s.instances {
		if n := i.CutConnections(true); n != 0 {
			return fmt.Errorf("%s still has %d connections", i, n)
		}
	}
	// A process that is told to quit tells what all its goroutines are doing.
	if err := s.proxy.cmd.Process.Signal(syscall.SIGQUIT); err != nil {
		return err
	}
	_ = s.proxy.cmd.Wait() // with the status of one that has quit
	text := s.proxy.stderr.String()
	if n := strings.Count(text, "door.(*Door).accept("); n != len(s.instances) {
		return fmt.Errorf("%d goroutines accept, want %d: %s", n, len(s.instances), text)
	}
	for _, f := range []string{"door.(*way)", "door.(*joint)", "door.(*Door).connect("} {
		if strings.Contains(text, f) {
			return fmt.Errorf("goroutines of connections are left:\n%s", text)
		}
	}
	if err := s.proxy.start(s.proxy.starved); err != nil { // by the socket that is left
		return err
	}
	return s.proxy.stop()
}
