package door_test

import (
	"bytes"
	"context"
	"errors"
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

// socket passes for one of the system's, on which deadlines do no harm. It counts
// the Reads that have been given room for much.
type socket struct {
	*memnet.Conn
	wide *atomic.Int64 // in progress
}

func (s socket) SyscallConn() (syscall.RawConn, error) { return nil, errors.ErrUnsupported }

func (s socket) Read(b []byte) (int, error) {
	if len(b) > 512 {
		s.wide.Add(1)
		defer s.wide.Add(-1)
	}
	return s.Conn.Read(b)
}

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
	wide *atomic.Int64
}

func (l sockets) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return socket{c.(*memnet.Conn), l.wide}, nil
}

// run leads from a listener to another one, whose connections server takes.
func run(t *testing.T, server func(*memnet.Conn), test func(client *memnet.Conn, wide *atomic.Int64)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var wide atomic.Int64
		front, back := memnet.Listen("front"), memnet.Listen("back")
		d := &door.Door{
			Dial: func(ctx context.Context) (net.Conn, error) {
				c, err := back.DialContext(ctx, "tcp", "back")
				if err != nil {
					return nil, err
				}
				return socket{c.(*memnet.Conn), &wide}, nil
			},
			Refuse: func(context.Context, net.Conn, error) {},
			Silent: func(context.Context, net.Conn, net.Conn, error) {},
			Log:    slog.New(slog.DiscardHandler),
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- d.Serve(ctx, sockets{front, &wide}) }()
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
		test(c.(*memnet.Conn), &wide)
		_ = c.Close()
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		_ = back.Close()
	})
}

// Whatever the sizes and the pauses, all bytes come in their order.
func TestNothingIsLostBetweenSipsAndGulps(t *testing.T) {
	t.Parallel()
	run(t, func(c *memnet.Conn) { _, _ = io.Copy(c, c) }, func(c *memnet.Conn, _ *atomic.Int64) {
		random := rand.New(rand.NewPCG(1, 2))
		for range 200 {
			sent := make([]byte, []int{1, 511, 512, 513, 1024, 32 << 10, 32<<10 + 512, 1 + random.IntN(100<<10)}[random.IntN(8)])
			for i := range sent {
				sent[i] = byte(random.Uint32())
			}
			go func() { _, _ = c.Write(sent) }()
			got := make([]byte, len(sent))
			if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, sent) {
				t.Fatalf("%d bytes came back wrong: %v", len(sent), err)
			}
			time.Sleep([]time.Duration{0, 99 * time.Millisecond, 100 * time.Millisecond, time.Hour}[random.IntN(4)])
		}
	})
}

// A connection that has nothing to pass on holds no buffer.
func TestIdleConnectionsHoldNoBuffer(t *testing.T) {
	t.Parallel()
	run(t, func(c *memnet.Conn) { _, _ = io.Copy(c, c) }, func(c *memnet.Conn, wide *atomic.Int64) {
		text := make([]byte, 100<<10)
		go func() { _, _ = c.Write(text) }()
		if _, err := io.ReadFull(c, text); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := wide.Load(); n != 2 {
			t.Errorf("%d Reads have a buffer in the flow, want both", n)
		}
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if n := wide.Load(); n != 0 {
			t.Errorf("%d Reads still have a buffer", n)
		}
	})
}

func TestAnEndInTheFlowIsPassedOn(t *testing.T) {
	t.Parallel()
	run(t, func(c *memnet.Conn) {
		b, _ := io.ReadAll(c)
		_, _ = c.Write(b)
	}, func(c *memnet.Conn, _ *atomic.Int64) {
		sent := make([]byte, 10<<10)
		_, _ = c.Write(sent)
		_ = c.CloseWrite()
		if got, err := io.ReadAll(c); len(got) != len(sent) || err != nil {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	})
}
