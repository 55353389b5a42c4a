//go:build linux

// Package port is a soak of the command's local port: its clients come and go,
// hang up, reset and read slowly, over TCP and a unix socket, while the process is
// killed and stopped, and the instances restart, lose their connections and get
// new CAs.
//
// What fails a run is a client that loses a byte without a fault, or gets a wrong
// one with a fault; clients that are not served after a fault; and whatever is left
// behind: connections, open files, goroutines, memory, the socket's file.
package port

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/traffic"
)

const (
	clients = 32

	// unit is the longest silence of a client: connections become idle, or not.
	unit = 300 * time.Millisecond
)

// soak is the process under test and the instances.
type soak struct {
	instances [2]*cloudsqltest.EmulatedInstance // the port of the second one is a unix socket
	proxy     *proxy
	next      atomic.Int64 // client

	killed, stopped, restarted, cut atomic.Int64 // what has happened
}

// Run runs the soak for so long, and returns why that went wrong. Starved, the
// process has one processor, beside busy loops.
func Run(duration time.Duration, starve bool, out io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "cloudsqlconn-soak-") // short enough for a socket
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	program := filepath.Join(dir, "cloudsqlconn")
	if text, err := exec.Command("go", "build", "-o", program, "github.com/cloudsqlconn/cloudsqlconn/cmd/cloudsqlconn").CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, text)
	}
	server := cloudsqltest.NewServer()
	defer server.Close()
	s := &soak{}
	for i, name := range []string{"my-project:europe-west1:tcp", "my-project:europe-west1:socket"} {
		s.instances[i] = server.AddInstance(name, cloudsqltest.Instance{ListenOn3307: true, Handler: cloudsqltest.Echo})
	}
	if s.proxy, err = newProxy(program, dir, server, s.instances); err != nil {
		return err
	}
	if err := s.proxy.start(starve); err != nil {
		return err
	}
	defer s.proxy.kill()
	if starve {
		defer keepBusy(2 * duration)()
	}

	all := s.load(append(s.faults(), s.endings()...))
	if err := s.run(all, duration*2/3, "while the process is killed and stopped, too", out); err != nil {
		return err
	}
	before, err := s.proxy.settled()
	if err != nil {
		return err
	}
	last := s.load(s.faults())
	if err := s.run(last, duration/3, "with one process", out); err != nil {
		return err
	}
	if err := errors.Join(s.happened(), s.nothingLeft(before, out)); err != nil {
		return err
	}
	fmt.Fprintln(out, "left behind        nothing")
	return nil
}

func (s *soak) load(faults []traffic.Fault) *traffic.Load {
	return &traffic.Load{Connect: s.connect, Clients: clients, Unit: unit, Faults: faults}
}

func (s *soak) run(l *traffic.Load, duration time.Duration, how string, out io.Writer) error {
	ctx, cancel := context.WithTimeout(context.Background(), duration)
	defer cancel()
	fmt.Fprintf(out, "%v, %s:\n", duration, how)
	err := l.Run(ctx)
	l.Print(out)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, s.proxy.log())
	}
	return nil
}

// connect connects a client to one port or the other.
func (s *soak) connect(ctx context.Context) (net.Conn, error) {
	if s.next.Add(1)%2 == 0 {
		c, err := new(net.Dialer).DialContext(ctx, "unix", s.proxy.socket)
		if err != nil {
			return nil, err
		}
		return c, nil
	}
	return new(net.Dialer).DialContext(ctx, "tcp", s.proxy.addr)
}

// each is a fault that hits both instances.
func (s *soak) each(f func(*cloudsqltest.EmulatedInstance)) func() error {
	return func() error {
		for _, i := range s.instances {
			f(i)
		}
		return nil
	}
}

// faults are those that the process survives.
func (s *soak) faults() []traffic.Fault {
	return []traffic.Fault{
		{Name: "instances restart", Cuts: true, Do: s.each(func(i *cloudsqltest.EmulatedInstance) {
			i.Stop()
			time.Sleep(unit)
			i.Start()
			s.restarted.Add(1)
		})},
		{Name: "connections end", Cuts: true, Do: s.each(func(i *cloudsqltest.EmulatedInstance) { s.cut.Add(int64(i.CutConnections(false))) })},
		{Name: "connections are reset", Cuts: true, Do: s.each(func(i *cloudsqltest.EmulatedInstance) { s.cut.Add(int64(i.CutConnections(true))) })},
		{Name: "new server CA", Do: s.each((*cloudsqltest.EmulatedInstance).RotateServerCA)},
		{Name: "new client CA", Cuts: true, Do: s.each((*cloudsqltest.EmulatedInstance).RotateClientCA)},
	}
}

// endings are those that it does not survive.
func (s *soak) endings() []traffic.Fault {
	return []traffic.Fault{
		{Name: "kill -9", Cuts: true, Do: func() error {
			s.proxy.kill()
			if _, err := os.Lstat(s.proxy.socket); err != nil {
				return fmt.Errorf("the socket should have been left behind: %w", err)
			}
			s.killed.Add(1)
			return s.proxy.start(s.proxy.starved)
		}},
		{Name: "TERM", Cuts: true, Do: func() error {
			if err := s.proxy.stop(); err != nil {
				return err
			}
			s.stopped.Add(1)
			return s.proxy.start(s.proxy.starved)
		}},
	}
}

// happened returns what has not happened.
func (s *soak) happened() error {
	var errs []error
	want := func(what string, n int64) {
		if n == 0 {
			errs = append(errs, errors.New("this has not happened: "+what))
		}
	}
	want("a kill", s.killed.Load())
	want("a stop", s.stopped.Load())
	want("a restart of an instance", s.restarted.Load())
	want("a connection that was cut", s.cut.Load())
	for _, i := range s.instances {
		want("a client certificate that was refused", int64(i.Counts().Rejected))
	}
	return errors.Join(errs...)
}

// keepBusy keeps all processors busy, until the function is called that it
// returns, or the time is over.
func keepBusy(atMost time.Duration) (stop func()) {
	ctx, cancel := context.WithTimeout(context.Background(), atMost)
	n := runtime.GOMAXPROCS(0)
	runtime.GOMAXPROCS(2 * n) // the others have to run, too
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			for ctx.Err() == nil { // the work is to look
			}
		})
	}
	return func() {
		cancel()
		wg.Wait()
		runtime.GOMAXPROCS(n)
	}
}
