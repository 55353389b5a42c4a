package door_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/door"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/memnet"
)

// socket passes for one of the system's: it can be waited for. It counts what is
// in progress.
type socket struct {
	*memnet.Conn
	count *counts
	ahead chan byte // what a wait has read
}

type counts struct {
	reads, wide, waits atomic.Int64 // wide: Reads with room for much
	waited             atomic.Int64 // waits so far
}

func newSocket(c net.Conn, count *counts) socket {
	return socket{c.(*memnet.Conn), count, make(chan byte, 1)}
}

func (s socket) SyscallConn() (syscall.RawConn, error) { return rawSocket{socket: s}, nil }

func (s socket) Read(b []byte) (int, error) {
	s.count.reads.Add(1)
	defer s.count.reads.Add(-1)
	if len(b) > 2<<10 {
		s.count.wide.Add(1)
		defer s.count.wide.Add(-1)
	}
	select {
	case b[0] = <-s.ahead:
		return 1, nil
	default:
		return s.Conn.Read(b)
	}
}

// rawSocket waits for something to read.
type rawSocket struct {
	syscall.RawConn // nil: what nobody calls
	socket
}

func (s rawSocket) Read(func(uintptr) bool) error {
	s.count.waited.Add(1)
	s.count.waits.Add(1)
	defer s.count.waits.Add(-1)
	var b [1]byte
	n, err := s.Conn.Read(b[:])
	if n > 0 {
		s.ahead <- b[0]
	}
	return err
}

func (s rawSocket) Write(func(uintptr) bool) error { panic("not to be called") }

// Write writes. With nothing to write it is not to be called: a connection may
// begin to speak at its first Write.
func (s socket) Write(b []byte) (int, error) {
	if len(b) == 0 {
		panic("a Write of nothing")
	}
	return s.Conn.Write(b)
}

// sockets is a listener of them.
type sockets struct {
	*memnet.Listener
	count *counts
}

func (l sockets) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return newSocket(c, l.count), nil
}

// run leads from a listener to another one, whose connections server takes.
func run(t *testing.T, server func(*memnet.Conn), test func(client *memnet.Conn, count *counts)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var count counts
		front, back := memnet.Listen("front"), memnet.Listen("back")
		d := &door.Door{
			Dial: func(ctx context.Context) (net.Conn, error) {
				c, err := back.DialContext(ctx, "tcp", "back")
				if err != nil {
					return nil, err
				}
				return newSocket(c, &count), nil
			},
			Refuse: func(context.Context, net.Conn, error) {},
			Silent: func(context.Context, net.Conn, net.Conn, error) {},
			Log:    slog.New(slog.DiscardHandler),
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- d.Serve(ctx, sockets{front, &count}) }()
		go func() {
			c, err := back.Accept()
			if err != nil {
				t.Error(err)
				return
			}
			server(c.(*memnet.Conn))
			_ = c.Close()
		}()
		c, err := front.DialContext(t.Context(), "tcp", "front")
		if err != nil {
			t.Fatal(err)
		}
		test(c.(*memnet.Conn), &count)
		_ = c.Close()
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		_ = back.Close()
	})
}

// Whatever the sizes and the pauses, all bytes come in their order.
func TestNothingIsLostBetweenFlowsAndLulls(t *testing.T) {
	t.Parallel()
	run(t, func(c *memnet.Conn) { _, _ = io.Copy(c, c) }, func(c *memnet.Conn, count *counts) {
		random := rand.New(rand.NewPCG(1, 2))
		for range 200 {
			sent := make([]byte, []int{1, 511, 2047, 2048, 2049, 64 << 10, 64<<10 + 2048, 1 + random.IntN(200<<10)}[random.IntN(8)])
			for i := range sent {
				sent[i] = byte(random.Uint32())
			}
			go func() { _, _ = c.Write(sent) }()
			got := make([]byte, len(sent))
			if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, sent) {
				t.Fatalf("%d bytes came back wrong: %v", len(sent), err)
			}
			time.Sleep([]time.Duration{0, 49 * time.Millisecond, 50 * time.Millisecond, 99 * time.Millisecond, 100 * time.Millisecond, time.Hour}[random.IntN(6)])
		}
		if n := count.waited.Load(); n < 100 {
			t.Errorf("%d lulls, want many", n)
		}
	})
}

// A connection that has nothing to pass on holds no buffer, and no stack that is
// deep enough for a Read.
func TestIdleConnectionsHoldNoBuffer(t *testing.T) {
	t.Parallel()
	run(t, func(c *memnet.Conn) { _, _ = io.Copy(c, c) }, func(c *memnet.Conn, count *counts) {
		text := make([]byte, 100<<10)
		for range 3 {
			go func() { _, _ = c.Write(text) }()
			if _, err := io.ReadFull(c, text); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if n := count.wide.Load(); n != 2 {
				t.Errorf("%d Reads have a large buffer in the flow, want both", n)
			}
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
			if reads, waits := count.reads.Load(), count.waits.Load(); reads != 0 || waits != 2 {
				t.Errorf("%d Reads and %d waits in progress, want 0 and 2", reads, waits)
			}
		}
	})
}

// Small messages need no large buffer.
func TestSmallMessagesTakeASmallBuffer(t *testing.T) {
	t.Parallel()
	run(t, func(c *memnet.Conn) { _, _ = io.Copy(c, c) }, func(c *memnet.Conn, count *counts) {
		for range 100 {
			if _, err := c.Write(make([]byte, 100)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(c, make([]byte, 100)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if n, wide := count.reads.Load(), count.wide.Load(); n != 2 || wide != 0 {
				t.Fatalf("%d Reads, %d with a large buffer; want 2 and 0", n, wide)
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
}

func TestAnEndIsPassedOn(t *testing.T) {
	t.Parallel()
	for _, pause := range []time.Duration{0, time.Hour} { // in the flow, and when idle
		run(t, func(c *memnet.Conn) {
			b, _ := io.ReadAll(c)
			_, _ = c.Write(b)
		}, func(c *memnet.Conn, count *counts) {
			sent := make([]byte, 10<<10)
			_, _ = c.Write(sent)
			time.Sleep(pause)
			synctest.Wait()
			if idle := count.waits.Load() == 2; idle != (pause > 0) {
				t.Errorf("after %v: %d waits", pause, count.waits.Load())
			}
			_ = c.CloseWrite()
			if got, err := io.ReadAll(c); len(got) != len(sent) || err != nil {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
}

// brittle is a WebSocket over a socket: it is of no use after a deadline.
type brittle struct {
	*memnet.Conn
	under  socket
	broken error
}

func (b *brittle) NetConn() net.Conn { return b.under }

func (b *brittle) Read(p []byte) (n int, err error) {
	if b.broken == nil {
		n, b.broken = b.Conn.Read(p)
	}
	return n, b.broken
}

// Connections of whoever wraps a socket can be ruined by a deadline.
func TestStrangersGetNoDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var count counts
		front, back := memnet.Listen("front"), memnet.Listen("back")
		d := &door.Door{
			Dial: func(ctx context.Context) (net.Conn, error) {
				c, err := back.DialContext(ctx, "tcp", "back")
				if err != nil {
					return nil, err
				}
				return &brittle{Conn: c.(*memnet.Conn), under: newSocket(c, &count)}, nil
			},
			Silent: func(context.Context, net.Conn, net.Conn, error) {},
			Log:    slog.New(slog.DiscardHandler),
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- d.Serve(ctx, sockets{front, &count}) }()
		client, err := front.DialContext(t.Context(), "tcp", "front")
		if err != nil {
			t.Fatal(err)
		}
		server, err := back.Accept()
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			time.Sleep(time.Hour)
			_, _ = server.Write([]byte("hello"))
			b := make([]byte, 5)
			if _, err := io.ReadFull(client, b); err != nil || string(b) != "hello" {
				t.Fatalf("after an idle hour: %q, %v", b, err)
			}
		}
		_, _ = server.Close(), client.Close()
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		_ = back.Close()
	})
}
