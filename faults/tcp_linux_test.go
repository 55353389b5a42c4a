package faults_test

import (
	"context"
	"math"
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// tcpOptions are socket options about dead peers: seconds, but milliseconds for
// the timeout.
type tcpOptions struct {
	keepAlive                          bool
	idle, interval, count, userTimeout int
}

func readTCPOptions(t *testing.T, c net.Conn) (o tcpOptions) {
	t.Helper()
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Control(func(fd uintptr) {
		get := func(level, opt int) int {
			v, err := unix.GetsockoptInt(int(fd), level, opt)
			if err != nil {
				t.Error(err)
			}
			return v
		}
		o = tcpOptions{
			keepAlive:   get(unix.SOL_SOCKET, unix.SO_KEEPALIVE) != 0,
			idle:        get(unix.IPPROTO_TCP, unix.TCP_KEEPIDLE),
			interval:    get(unix.IPPROTO_TCP, unix.TCP_KEEPINTVL),
			count:       get(unix.IPPROTO_TCP, unix.TCP_KEEPCNT),
			userTimeout: get(unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT),
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// onSockets makes an echoing instance on real sockets and a Dialer for it.
func onSockets(t *testing.T, opts ...cloudsqlconn.Option) (*cloudsqltest.Server, *cloudsqlconn.Dialer) {
	t.Helper()
	server := cloudsqltest.NewServer()
	t.Cleanup(server.Close)
	server.AddInstance(testInstance, cloudsqltest.Instance{})
	d, err := cloudsqlconn.NewDialer(context.Background(), append(server.Options(), opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return server, d
}

func TestTCPKeepAliveReachesTheSocket(t *testing.T) {
	t.Parallel()
	_, d := onSockets(t)
	usual := tcpOptions{keepAlive: true, idle: 30, interval: 30, count: 3, userTimeout: 120_000}
	for name, tt := range map[string]struct {
		opts []cloudsqlconn.DialOption
		want tcpOptions
	}{
		"default":    {nil, usual},
		"zero":       {[]cloudsqlconn.DialOption{cloudsqlconn.WithTCPKeepAlive(0)}, usual},
		"10 s":       {[]cloudsqlconn.DialOption{cloudsqlconn.WithTCPKeepAlive(10 * time.Second)}, tcpOptions{true, 10, 10, 3, 40_000}},
		"rounded up": {[]cloudsqlconn.DialOption{cloudsqlconn.WithTCPKeepAlive(1200 * time.Millisecond)}, tcpOptions{true, 2, 2, 3, 8_000}},
		"tiny":       {[]cloudsqlconn.DialOption{cloudsqlconn.WithTCPKeepAlive(1)}, tcpOptions{true, 1, 1, 3, 4_000}},
		"huge":       {[]cloudsqlconn.DialOption{cloudsqlconn.WithTCPKeepAlive(math.MaxInt64)}, tcpOptions{true, 32767, 32767, 3, 4 * 32_767_000}},
	} {
		c, err := d.Dial(t.Context(), testInstance, tt.opts...)
		if err != nil {
			t.Fatal(err)
		}
		if got := readTCPOptions(t, c); got != tt.want {
			t.Errorf("%s: got %+v, want %+v", name, got, tt.want)
		}
		_ = c.Close()
	}
}

func TestNegativeTCPKeepAliveMeansNone(t *testing.T) {
	t.Parallel()
	_, d := onSockets(t, cloudsqlconn.WithTCPKeepAlive(-1))
	c, err := d.Dial(t.Context(), testInstance)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := readTCPOptions(t, c); got.keepAlive || got.userTimeout != 0 {
		t.Errorf("got %+v", got)
	}
}

// Drivers look at the socket to learn whether an idle connection is still
// alive: through a proxy, too.
func TestTheSocketOfAProxyIsAtHand(t *testing.T) {
	t.Parallel()
	proxyCertificate()
	server, d := onSockets(t, cloudsqlconn.WithTCPKeepAlive(7*time.Second))
	for _, kind := range proxyKinds {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		p := &testProxy{kind: kind, out: server.DialContext}
		p.start(l)
		defer p.stop()
		// One address: on a busy machine a second one is asked for beside the first.
		c, err := d.Dial(t.Context(), testInstance, cloudsqlconn.WithPublicIP(), cloudsqlconn.WithProxy(p.url("")),
			cloudsqlconn.WithDialFunc(new(net.Dialer).DialContext))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := echo(c); err != nil {
			t.Fatal(err)
		}
		if got, want := readTCPOptions(t, c), (tcpOptions{true, 7, 7, 3, 28_000}); got != want {
			t.Errorf("%s: got %+v, want %+v", kind, got, want)
		}
		if quiet := peek(t, c); quiet != syscall.EAGAIN {
			t.Errorf("%s: an idle connection has something to read: %v", kind, quiet)
		}
		if len(p.targets()) != 1 {
			t.Errorf("%s: the proxy was asked for %v", kind, p.targets())
		}
	}
}

// peek reads nothing and returns EAGAIN if there is nothing.
func peek(t *testing.T, c net.Conn) (result error) {
	t.Helper()
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Read(func(fd uintptr) bool {
		_, _, result = syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return result
}
