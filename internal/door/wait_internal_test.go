//go:build unix

package door

import (
	"crypto/tls"
	"net"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// pair returns both ends of a connection.
func pair(t *testing.T, network, addr string) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = net.Dial(network, l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = a.Close()
		_ = b.Close()
	})
	return a, b
}

// around is a connection around another one.
type around struct{ net.Conn }

func (a around) NetConn() net.Conn { return a.Conn }

func (a around) SyscallConn() (syscall.RawConn, error) { return a.Conn.(syscall.Conn).SyscallConn() }

// A wait ends whatever happens to the socket, be it before or during it.
func TestWaitEnds(t *testing.T) {
	t.Parallel()
	for name, happen := range map[string]func(ours, theirs net.Conn){
		"data":           func(_, theirs net.Conn) { _, _ = theirs.Write([]byte("hello")) },
		"end":            func(_, theirs net.Conn) { _ = theirs.(interface{ CloseWrite() error }).CloseWrite() },
		"close":          func(_, theirs net.Conn) { _ = theirs.Close() },
		"reset":          reset,
		"our own close":  func(ours, _ net.Conn) { _ = ours.Close() },
		"a deadline":     func(ours, _ net.Conn) { _ = ours.SetReadDeadline(time.Now()) },
		"data, then end": func(_, theirs net.Conn) { _, _ = theirs.Write([]byte("hello")); _ = theirs.Close() },
	} {
		for _, network := range []string{"tcp", "unix"} {
			for _, before := range []bool{true, false} {
				t.Run(name+"/"+network, func(t *testing.T) {
					t.Parallel()
					addr := "127.0.0.1:0"
					if network == "unix" {
						addr = filepath.Join(t.TempDir(), "s")
					}
					ours, theirs := pair(t, network, addr)
					socket := socketOf(tls.Client(around{around{ours}}, nil))
					if socket == nil {
						t.Fatal("there is no socket")
					}
					if before {
						happen(ours, theirs)
						wait(socket)
						return
					}
					ended, began := make(chan struct{}), make(chan struct{})
					go func() {
						close(began)
						wait(socket)
						close(ended)
					}()
					<-began
					select {
					case <-ended:
						t.Error("the wait has ended by itself")
					case <-time.After(time.Millisecond): // most waits are going on by now
					}
					happen(ours, theirs)
					<-ended
				})
			}
		}
	}
}

func reset(_, theirs net.Conn) {
	if c, ok := theirs.(*net.TCPConn); ok {
		_ = c.SetLinger(0)
	}
	_ = theirs.Close()
}

func TestWhatIsNoSocketIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if socketOf(a) != nil || socketOf(tls.Client(a, nil)) != nil {
		t.Error("a pipe in memory counts as a socket")
	}
}
