//go:build unix

package heard_test

import (
	"context"
	"errors"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/driver/internal/heard"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/testmain"
	"github.com/cloudsqlconn/cloudsqlconn/internal/tlsconn"
)

func TestMain(m *testing.M) { os.Exit(testmain.Run(m)) }

const instance = "my-project:europe-west1:my-db"

// The look of a driver at an idle connection waited for a Read in progress. It
// does not, and says that it cannot tell.
func TestALookDoesNotWait(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		newServer   func() *cloudsqltest.Server
		idle, ended heard.State
	}{
		"sockets": {cloudsqltest.NewServer, heard.Quiet, heard.Something},
		"memory":  {cloudsqltest.NewMemoryServer, heard.Unknown, heard.Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := tt.newServer()
			defer s.Close()
			p := s.AddInstance(instance, cloudsqltest.Instance{})
			d, err := cloudsqlconn.NewDialer(context.Background(), s.Options()...)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			c, err := d.Dial(t.Context(), instance)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if got := heard.Look(c); got != tt.idle {
				t.Errorf("idle: %v, want %v", got, tt.idle)
			}
			if tt.idle == heard.Quiet {
				busy(t, c)
			}
			if p.CutConnections(false) != 1 {
				t.Fatal("the fault did not happen")
			}
			for heard.Look(c) == heard.Quiet { // the end has not come yet
				runtime.Gosched()
			}
			if got := heard.Look(c); got != tt.ended {
				t.Errorf("ended: %v, want %v", got, tt.ended)
			}
		})
	}
}

// busy looks while somebody sits in Read, and after that.
func busy(t *testing.T, c net.Conn) {
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = c.Read(make([]byte, 1)) })
	for heard.Look(c) != heard.Busy {
		runtime.Gosched()
	}
	_ = c.SetReadDeadline(time.Unix(1, 0))
	wg.Wait()
	_ = c.SetReadDeadline(time.Time{})
	if got := heard.Look(c); got != heard.Quiet {
		t.Errorf("after the Read: %v", got)
	}
}

// The same while somebody sits in a Write to a server that does not read, and in
// a Read beside.
func TestALookDoesNotWaitForAWrite(t *testing.T) {
	t.Parallel()
	for _, reading := range []bool{false, true} {
		s := cloudsqltest.NewServer()
		defer s.Close()
		end := make(chan struct{})
		defer close(end)
		s.AddInstance(instance, cloudsqltest.Instance{Handler: func(net.Conn) { <-end }})
		d, err := cloudsqlconn.NewDialer(context.Background(), s.Options()...)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		c, err := d.Dial(t.Context(), instance)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			for err := error(nil); err == nil; {
				_, err = c.Write(make([]byte, 1<<20))
			}
		})
		if reading {
			wg.Go(func() { _, _ = c.Read(make([]byte, 1)) })
		}
		for heard.Look(c) != heard.Busy {
			runtime.Gosched()
		}
		_ = c.Close()
		wg.Wait()
		if got := heard.Look(c); got != heard.Something {
			t.Errorf("closed: %v, want %v", got, heard.Something)
		}
	}
}

// What comes between the look of the connection itself and that at its socket may be a
// session ticket: only the connection can tell. A new connection on a busy machine looked
// as if its server had ended it.
func TestWhatComesDuringALookIsLookedAt(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		nothing bool // for the connection
		want    heard.State
	}{
		"a ticket": {true, heard.Quiet},
		"data":     {false, heard.Something},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			server, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			late := &lateConn{Conn: c, takes: tt.nothing, come: func() {
				if _, err := server.Write([]byte("x")); err != nil {
					t.Error(err)
				}
				waitReadable(t, c)
			}}
			if got := heard.Look(late); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
			if late.reads != 2 {
				t.Errorf("%d looks, want 2", late.reads)
			}
		})
	}
}

// lateConn is a connection to whose socket something comes during the first look at it.
type lateConn struct {
	net.Conn
	come  func()
	takes bool // it is nothing, and is taken by the second look
	reads int
}

func (c *lateConn) SyscallConn() (syscall.RawConn, error) {
	raw, err := c.Conn.(syscall.Conn).SyscallConn()
	return lateRaw{raw, c}, err
}

type lateRaw struct {
	syscall.RawConn
	conn *lateConn
}

func (r lateRaw) Read(f func(fd uintptr) bool) error {
	c := r.conn
	c.reads++
	switch {
	case c.reads == 1:
		c.come()
	case !c.takes:
		return tlsconn.ErrData
	default:
		if _, err := c.Read(make([]byte, 1)); err != nil {
			return err
		}
	}
	return r.Control(func(fd uintptr) { f(fd) })
}

// waitReadable waits until c has something to read.
func waitReadable(t *testing.T, c net.Conn) {
	t.Helper()
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Read(func(fd uintptr) bool {
		_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK)
		return err != syscall.EAGAIN
	}); err != nil {
		t.Fatal(err)
	}
}

// A driver's connection has been made again, over what is no socket.
func TestAConnectionThatHasLostItsSocketCannotBeLookedAt(t *testing.T) {
	t.Parallel()
	if got := heard.Look(noSocket{}); got != heard.Unknown {
		t.Errorf("got %v", got)
	}
}

type noSocket struct{ net.Conn }

func (noSocket) SyscallConn() (syscall.RawConn, error) { return nil, errors.ErrUnsupported }
