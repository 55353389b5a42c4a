package pgclient_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/pgclient"
)

// hosts are servers that take what they are sent, and hang up on a request.
type hosts struct {
	mu       sync.Mutex // guards everything below
	next     int
	received map[int]*bytes.Buffer // of connections for requests, by host
	logins   []string              // as host user/database
}

// server is a connection to a host.
type server struct {
	net.Conn
	hosts *hosts
	host  int
	asks  bool // it is for a request
}

func (s *server) Write(b []byte) (int, error) {
	if s.asks {
		s.hosts.mu.Lock()
		defer s.hosts.mu.Unlock()
		s.hosts.received[s.host].Write(b)
	}
	return len(b), nil
}
func (s *server) Read([]byte) (int, error)    { return 0, io.EOF }
func (s *server) Close() error                { return nil }
func (s *server) CloseWrite() error           { return nil }
func (s *server) SetDeadline(time.Time) error { return nil }

func newHosts() *hosts { return &hosts{received: map[int]*bytes.Buffer{}} }

// requests lead each client to the next host.
func (h *hosts) requests() *pgclient.Clients {
	return &pgclient.Clients{
		Dial: func(_ context.Context, same net.Conn) (net.Conn, error) {
			h.mu.Lock()
			defer h.mu.Unlock()
			if same != nil {
				host := same.(*server).host
				h.received[host] = new(bytes.Buffer)
				return &server{hosts: h, host: host, asks: true}, nil
			}
			h.next++
			return &server{hosts: h, host: h.next}, nil
		},
		Host: func(c net.Conn) any { return c.(*server).host },
		Login: func(c net.Conn, user, database string) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.logins = append(h.logins, fmt.Sprintf("%d %s/%s", c.(*server).host, user, database))
		},
	}
}

// request is a request to cancel with so long a key.
func request(key int) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(12+key))
	b = binary.BigEndian.AppendUint32(b, 80877102)
	return append(b, make([]byte, 4+key)...)
}

var sslRequest = []byte{0, 0, 0, 8, 4, 210, 22, 47}

// clients connects so many clients.
func clients(t testing.TB, r *pgclient.Clients, n int) (list []net.Conn) {
	for range n {
		c, err := r.Connect(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, c)
	}
	return list
}

func TestARequestGoesToTheOtherHosts(t *testing.T) {
	t.Parallel()
	h := newHosts()
	c := clients(t, h.requests(), 3)
	want := request(256)
	for _, part := range [][]byte{sslRequest[:3], sslRequest[3:], want[:5], want[5:100], want[100:]} {
		if len(h.received) > 0 {
			t.Fatal("it was sent before it was whole")
		}
		if n, err := c[0].Write(part); n != len(part) || err != nil {
			t.Fatal(n, err)
		}
	}
	for host := 2; host <= 3; host++ {
		if got := h.received[host]; got == nil || !bytes.Equal(got.Bytes(), want) {
			t.Errorf("host %d has received %v", host, got)
		}
	}
	if len(h.received) != 2 {
		t.Errorf("it went to %d hosts, want the two others", len(h.received))
	}
}

// startup is a login.
func startup(parameters string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(8+len(parameters)))
	return append(binary.BigEndian.AppendUint32(b, 3<<16), parameters...)
}

// A login is told of once it is whole, and not what follows it.
func TestALoginIsToldOf(t *testing.T) {
	t.Parallel()
	h := newHosts()
	c := clients(t, h.requests(), 2)
	login := startup("user\x00app\x00database\x00shop\x00options\x00" + strings.Repeat("x", 9000) + "\x00\x00")
	for _, part := range [][]byte{sslRequest, login[:20], login[20:8000]} {
		_, _ = c[1].Write(part)
	}
	if len(h.logins) > 0 {
		t.Fatalf("%v before it was whole", h.logins)
	}
	_, _ = c[1].Write(append(slices.Clone(login[8000:]), startup("user\x00other\x00\x00")...))
	_, _ = c[1].Write(startup("user\x00other\x00\x00"))
	if want := []string{"2 app/shop"}; !slices.Equal(h.logins, want) || len(h.received) > 0 {
		t.Errorf("told of %v, want %v; hosts were sent %v", h.logins, want, h.received)
	}
}

// onSocket is a server's connection that gives access to its socket.
type onSocket struct{ *server }

var errAsked = errors.New("asked for the socket")

func (onSocket) SyscallConn() (syscall.RawConn, error) { return nil, errAsked }

// Whoever waits for the socket gets it, if there is one.
func TestTheSocketIsReached(t *testing.T) {
	t.Parallel()
	for want, dialled := range map[error]net.Conn{errAsked: onSocket{&server{}}, errors.ErrUnsupported: &server{}} {
		r := &pgclient.Clients{
			Dial: func(context.Context, net.Conn) (net.Conn, error) { return dialled, nil },
			Host: func(net.Conn) any { return 1 },
		}
		c, err := r.Connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.(syscall.Conn).SyscallConn(); err != want {
			t.Errorf("got %v, want %v", err, want)
		}
	}
}

// A connection that has been closed is on no host any more.
func TestARequestDoesNotGoWhereNobodyIsAnyMore(t *testing.T) {
	t.Parallel()
	h := newHosts()
	c := clients(t, h.requests(), 2)
	_ = c[1].Close()
	_, _ = c[0].Write(request(4))
	if len(h.received) != 0 {
		t.Errorf("it went to %v", h.received)
	}
}

// FuzzBeginnings has clients begin with anything, in two parts: what is no request is
// sent to no other host, and what is goes there as it came.
func FuzzBeginnings(f *testing.F) {
	for _, b := range [][]byte{request(4), request(256), append(sslRequest[:8:8], request(4)...), sslRequest, {0, 0, 0, 0}, request(2000), startup("user\x00app\x00\x00"), []byte("GET / HTTP/1.1\r\n")} {
		f.Add(b, 5)
	}
	f.Fuzz(func(t *testing.T, said []byte, cut int) {
		h := newHosts()
		c := clients(t, h.requests(), 2)
		cut = max(0, min(cut, len(said)))
		for _, part := range [][]byte{said[:cut], said[cut:]} {
			if n, err := c[0].Write(part); n != len(part) || err != nil {
				t.Fatal(n, err)
			}
		}
		for host, got := range h.received {
			sent := got.Bytes()
			if host != 2 || len(sent) < 9 || len(sent) > 1<<10 || binary.BigEndian.Uint32(sent[4:]) != 80877102 || !bytes.Contains(said, sent) || int(binary.BigEndian.Uint32(sent)) != len(sent) {
				t.Errorf("host %d was sent %q of %q", host, sent, said)
			}
		}
	})
}
