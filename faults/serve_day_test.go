package faults_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/memnet"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/traffic"
)

// memSocket passes for one of the system's: Serve waits for it without a buffer.
type memSocket struct {
	*memnet.Conn
	waits *atomic.Int64 // so far
	ahead chan byte     // what a wait has read
}

func (s memSocket) SyscallConn() (syscall.RawConn, error) { return memRawConn{s}, nil }

func (s memSocket) Read(b []byte) (int, error) {
	select {
	case b[0] = <-s.ahead:
		return 1, nil
	default:
		return s.Conn.Read(b)
	}
}

type memRawConn struct{ memSocket }

func (c memRawConn) Read(func(uintptr) bool) error {
	c.waits.Add(1)
	var b [1]byte
	n, err := c.Conn.Read(b[:])
	if n > 0 {
		c.ahead <- b[0]
	}
	return err
}

func (c memRawConn) Write(func(uintptr) bool) error { return errors.ErrUnsupported }
func (c memRawConn) Control(func(uintptr)) error    { return errors.ErrUnsupported }

// memSockets is a listener of them.
type memSockets struct {
	*memnet.Listener
	waits *atomic.Int64
}

func (l memSockets) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return memSocket{c.(*memnet.Conn), l.waits, make(chan byte, 1)}, nil
}

// passed is what the records of connections that have ended tell.
type passed struct {
	slog.Handler
	began, ended, sent, received atomic.Int64
}

func (p *passed) Enabled(context.Context, slog.Level) bool { return true }
func (p *passed) WithAttrs([]slog.Attr) slog.Handler       { return p }
func (p *passed) WithGroup(string) slog.Handler            { return p }

func (p *passed) Handle(_ context.Context, r slog.Record) error {
	switch r.Message {
	case "client connected":
		p.began.Add(1)
	case "connection ended":
		p.ended.Add(1)
		r.Attrs(func(a slog.Attr) bool {
			switch a.Key {
			case "sent":
				p.sent.Add(a.Value.Int64())
			case "received":
				p.received.Add(a.Value.Int64())
			}
			return true
		})
	}
	return nil
}

// A day of clients that come and go, hang up, reset and read slowly, while the
// instance restarts, loses its connections and gets new CAs: nobody loses a byte
// but by a fault, and nothing is left.
func TestServeThroughADay(t *testing.T) {
	log := &passed{}
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		var waits atomic.Int64
		ctx, stop := context.WithCancel(t.Context())
		front, done := memnet.Listen("door"), make(chan error, 1)
		dial := cloudsqlconn.WithDialFunc(func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := w.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return memSocket{c.(*memnet.Conn), &waits, make(chan byte, 1)}, nil
		})
		go func() { done <- w.dialer.Serve(ctx, memSockets{front, &waits}, testInstance, dial) }()

		var restarts, cuts int
		load := &traffic.Load{
			Connect: func(ctx context.Context) (net.Conn, error) { return front.DialContext(ctx, "tcp", "door") },
			Clients: 3,
			Unit:    6 * time.Minute,
			Faults: []traffic.Fault{
				{Name: "restart", Cuts: true, Do: func() error {
					w.instance.Stop()
					time.Sleep(time.Minute)
					w.instance.Start()
					restarts++
					return nil
				}},
				{Name: "connections end", Cuts: true, Do: func() error {
					cuts += w.instance.CutConnections(false)
					return nil
				}},
				{Name: "connections are reset", Cuts: true, Do: func() error {
					cuts += w.instance.CutConnections(true)
					return nil
				}},
				{Name: "new server CA", Do: func() error {
					w.instance.RotateServerCA()
					return nil
				}},
				{Name: "new client CA", Cuts: true, Do: func() error {
					w.instance.RotateClientCA()
					return nil
				}},
			},
		}
		day, over := context.WithTimeout(t.Context(), 24*time.Hour)
		defer over()
		if err := load.Run(day); err != nil {
			t.Error(err)
		}
		var text strings.Builder
		load.Print(&text)
		t.Log("\n" + text.String())

		time.Sleep(time.Minute) // for what has a grace
		synctest.Wait()
		stop()
		if d := took(func() {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}); d != 0 {
			t.Errorf("a connection was left: Serve waited %v for it", d)
		}
		if n := w.dialer.Instances()[0].OpenConnections; n != 0 {
			t.Errorf("%d connections are open", n)
		}
		counts := w.instance.Counts()
		switch {
		case restarts == 0 || counts.Cut == 0 || cuts == 0 || counts.Rejected == 0:
			t.Errorf("not all faults have happened: %d restarts, %d connections cut, %+v", restarts, cuts, counts)
		case waits.Load() < 500:
			t.Errorf("%d waits for idle connections, want many", waits.Load())
		case log.began.Load() < 400 || log.began.Load() != log.ended.Load():
			t.Errorf("%d connections began, %d have ended", log.began.Load(), log.ended.Load())
		case log.sent.Load() < 1<<20 || log.received.Load() < 1<<20:
			t.Errorf("%d bytes sent, %d received: want many", log.sent.Load(), log.received.Load())
		}
		t.Logf("%d connections, %d MiB sent, %d MiB received, %d waits", log.ended.Load(), log.sent.Load()>>20, log.received.Load()>>20, waits.Load())
	}, cloudsqlconn.WithLogger(slog.New(log)))
}
