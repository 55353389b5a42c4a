//go:build unix

package tlsconn_test

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/go-sql-driver/mysql"

	"github.com/cloudsqlconn/cloudsqlconn/internal/test/memnet"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/mysqlserver"
	"github.com/cloudsqlconn/cloudsqlconn/internal/tlsconn"
)

// alive asks as go-sql-driver does: it reads a byte from the socket.
func alive(t testing.TB, c *tlsconn.Conn) error {
	t.Helper()
	raw, err := c.SyscallConn()
	wantNil(t, err)
	called := false
	err = raw.Read(func(fd uintptr) bool {
		called = true
		if n, err := syscall.Read(int(fd), make([]byte, 1)); n >= 0 || err != syscall.EAGAIN {
			t.Errorf("the socket: %d, %v", n, err)
		}
		return true
	})
	if called != (err == nil) {
		t.Errorf("the function was called: %v, with the error %v", called, err)
	}
	return err
}

func wantRead(t testing.TB, r io.Reader, want string) {
	t.Helper()
	b := make([]byte, len(want))
	if n, err := io.ReadFull(r, b); err != nil || string(b) != want {
		t.Fatalf("read %q, %v; want %q", b[:n], err, want)
	}
}

func TestWhatMeansNothingDoesNotCountAsHeard(t *testing.T) {
	t.Parallel()
	for name, sent := range map[string]func(f *forger) [][]byte{
		"ticket": func(f *forger) [][]byte { return [][]byte{f.record(handshake, newSessionTicket)} },
		"tickets": func(f *forger) [][]byte {
			return [][]byte{f.record(handshake, newSessionTicket), f.record(handshake, newSessionTicket)}
		},
		"key update": func(f *forger) [][]byte {
			return [][]byte{f.record(handshake, keyUpdate)}
		},
		"key update on both sides": func(f *forger) [][]byte {
			return [][]byte{f.record(handshake, keyUpdateWanted)}
		},
		"key update and ticket": func(f *forger) [][]byte {
			return [][]byte{f.record(handshake, keyUpdate), f.record(handshake, newSessionTicket)}
		},
		"empty data": func(f *forger) [][]byte { return [][]byte{f.record(data, nil)} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, f, socket := pair(t)
			for range 3 {
				wantNil(t, alive(t, c))
				f.send(sent(f)...)
				waitHeard(t, socket)
				wantNil(t, alive(t, c))
				wantNil(t, alive(t, c))
				f.send(f.record(data, []byte("hello")))
				wantRead(t, c, "hello")
				_, err := io.WriteString(c, "question")
				wantNil(t, err)
				wantRead(t, f, "question")
			}
		})
	}
}

func TestPiecesOfARecordAreNotLost(t *testing.T) {
	t.Parallel()
	c, f, socket := pair(t)
	ticket := f.record(handshake, newSessionTicket)
	for i := range ticket {
		f.send(ticket[i : i+1])
		waitHeard(t, socket)
		wantNil(t, alive(t, c))
	}
	f.send(f.record(data, []byte("hello")))
	wantRead(t, c, "hello")
}

func TestDataIsHeardAndNotLost(t *testing.T) {
	t.Parallel()
	c, f, socket := pair(t)
	for range 3 {
		f.send(f.record(handshake, newSessionTicket), f.record(data, []byte("hello")), f.record(data, []byte("world")))
		waitHeard(t, socket)
		for range 3 {
			if err := alive(t, c); !errors.Is(err, tlsconn.ErrData) {
				t.Errorf("got %v, want ErrData", err)
			}
		}
		if n, err := c.Read(nil); n != 0 || err != nil {
			t.Errorf("empty Read: %d, %v", n, err)
		}
		wantRead(t, c, "helloworld")
		wantNil(t, alive(t, c))
	}
}

func TestTheEndIsHeard(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		end  func(f *forger)
		want func(error) bool
	}{
		"close_notify": {func(f *forger) { f.send(f.record(alert, closeNotify)) }, isEOF},
		"ticket and close_notify": {func(f *forger) {
			f.send(f.record(handshake, newSessionTicket), f.record(alert, closeNotify))
		}, isEOF},
		"alert": {func(f *forger) { f.send(f.record(alert, internalError)) }, func(err error) bool {
			return strings.Contains(err.Error(), "internal error")
		}},
		"FIN": {func(f *forger) { _ = f.raw.Close() }, isEOF},
		"RST": {func(f *forger) {
			_ = f.raw.(*net.TCPConn).SetLinger(0)
			_ = f.raw.Close()
		}, func(err error) bool { return err != nil }}, // waitHeard takes the reset away
		"garbage": {func(f *forger) { f.send([]byte("HTTP/1.1 400 Bad Request\r\n")) }, func(err error) bool { return err != nil }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, f, socket := pair(t)
			c.end(f)
			waitHeard(t, socket)
			for range 2 {
				if err := alive(t, conn); err == nil || !c.want(err) {
					t.Errorf("got %v", err)
				}
			}
		})
	}
}

func isEOF(err error) bool { return err == io.EOF }

func TestAClosedConnectionIsNotAlive(t *testing.T) {
	t.Parallel()
	c, _, _ := pair(t)
	wantNil(t, c.Close())
	if err := alive(t, c); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

func TestChecksAndReadsAtTheSameTime(t *testing.T) {
	t.Parallel()
	c, f, _ := pair(t)
	const n = 500
	var wg sync.WaitGroup
	wg.Go(func() {
		for range n {
			f.send(f.record(handshake, newSessionTicket), f.record(data, []byte("hello")))
		}
	})
	raw, err := c.SyscallConn()
	wantNil(t, err)
	ctx, stop := context.WithCancel(t.Context())
	wg.Go(func() {
		for ctx.Err() == nil {
			err := raw.Read(func(uintptr) bool { return true })
			if err != nil && !errors.Is(err, tlsconn.ErrData) && !errors.Is(err, tlsconn.ErrBusy) {
				t.Error(err)
			}
		}
	})
	for range n {
		wantRead(t, c, "hello")
	}
	stop()
	wg.Wait()
}

func TestWithoutASocketThereIsNothingToAsk(t *testing.T) {
	t.Parallel()
	raw, server := memnet.Pair(memnet.Addr("client:1"), memnet.Addr("server:2"))
	defer raw.Close()
	defer server.Close()
	c := tlsconn.Client(raw, nil)
	if _, err := c.SyscallConn(); !errors.Is(err, errors.ErrUnsupported) || c.HasSocket() || c.NetConn() != net.Conn(raw) {
		t.Errorf("got %v", err)
	}
}

// go-sql-driver takes a connection from the pool again over which a ticket has
// come since, and leaves one alone that the server has ended with an error
// packet.
func TestGoSQLDriverTakesLiveConnectionsOnly(t *testing.T) {
	t.Parallel()
	server := &mysqlserver.Server{Accounts: map[string]mysqlserver.Account{"app": {}}}
	cfg, err := mysql.ParseDSN("app@x(y)/")
	wantNil(t, err)
	cfg.Logger = &mysql.NopLogger{}
	var wg sync.WaitGroup
	var f *forger
	var socket *net.TCPConn
	cfg.DialFunc = func(context.Context, string, string) (net.Conn, error) {
		var c *tlsconn.Conn
		c, f, socket = pair(t)
		forged := f
		wg.Go(func() {
			server.Serve(forged)
			_ = forged.raw.Close()
		})
		return c, nil
	}
	connector, err := mysql.NewConnector(cfg)
	wantNil(t, err)
	db := sql.OpenDB(connector)
	defer wg.Wait()
	defer db.Close()
	wantNil(t, db.PingContext(t.Context()))
	for range 3 {
		f.send(f.record(handshake, newSessionTicket))
		waitHeard(t, socket)
		wantNil(t, db.PingContext(t.Context()))
		f.send(f.record(handshake, keyUpdate))
		waitHeard(t, socket)
		wantNil(t, db.PingContext(t.Context()))
	}
	if n := len(server.Logins()); n != 1 {
		t.Errorf("%d logins after the tickets, want 1", n)
	}
	if n := server.ExpireIdle(); n != 1 {
		t.Errorf("%d sessions expired", n)
	}
	waitHeard(t, socket)
	wantNil(t, db.PingContext(t.Context()))
	if n := len(server.Logins()); n != 2 {
		t.Errorf("%d logins after the end of the first session, want 2", n)
	}
}
