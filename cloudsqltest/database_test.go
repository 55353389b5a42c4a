package cloudsqltest_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// backend is a database server that serves one connection after the other.
func backend(t *testing.T, network, addr string, serve func(c net.Conn)) string {
	t.Helper()
	l, err := net.Listen(network, addr)
	wantNil(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serve(c)
			_ = c.Close()
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return l.Addr().String()
}

// quoting answers with what it has read until the end, and ends then.
func quoting(prefix string) func(net.Conn) {
	return func(c net.Conn) {
		b, _ := io.ReadAll(c)
		_, _ = io.WriteString(c, prefix+string(b))
	}
}

func TestForwardsToTheBackendThatTheLoginIsFor(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "") // t.TempDir is too long for a socket
	wantNil(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	cfg := cloudsqltest.Instance{
		Backend:    backend(t, "tcp", "127.0.0.1:0", quoting("password ")),
		IAMBackend: backend(t, "unix", filepath.Join(dir, "s"), quoting("IAM ")),
	}
	s := cloudsqltest.NewServer()
	defer s.Close()
	c := newClient(t, s, cfg)
	for want, config := range map[string]func() *tls.Config{
		"password me": c.config,
		"IAM me":      func() *tls.Config { return withCertificate(c.certificate("access_token", s.LoginToken()), c.config()) },
	} {
		conn, err := c.connect(config())
		wantNil(t, err)
		_, err = io.WriteString(conn, "me")
		wantNil(t, err)
		// Half-close reaches the backend, and the answer comes after it.
		wantNil(t, conn.CloseWrite())
		if got, err := io.ReadAll(conn); string(got) != want || err != nil {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
		_ = conn.Close()
	}
	c.wantCounts(cloudsqltest.Counts{Accepted: 2, Handshakes: 2})
}

func TestHalfCloseOfTheBackendReachesTheClient(t *testing.T) {
	t.Parallel()
	got := make(chan string, 1)
	addr := backend(t, "tcp", "127.0.0.1:0", func(c net.Conn) {
		_, _ = io.WriteString(c, "bye")
		_ = c.(*net.TCPConn).CloseWrite()
		b, _ := io.ReadAll(c)
		got <- string(b)
	})
	s := cloudsqltest.NewServer()
	defer s.Close()
	c := newClient(t, s, cloudsqltest.Instance{Backend: addr})
	conn, err := c.connect(c.config())
	wantNil(t, err)
	if b, err := io.ReadAll(conn); string(b) != "bye" || err != nil {
		t.Errorf("got %q, %v", b, err)
	}
	_, err = io.WriteString(conn, "the other direction is open")
	wantNil(t, err)
	wantNil(t, conn.Close())
	if b := <-got; b != "the other direction is open" {
		t.Errorf("the backend got %q", b)
	}
}

func TestResetOfOneSideEndsTheOther(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 2)
	addr := backend(t, "tcp", "127.0.0.1:0", func(c net.Conn) {
		b := make([]byte, 1)
		if _, err := io.ReadFull(c, b); err == nil && b[0] == 'r' {
			_ = c.(*net.TCPConn).SetLinger(0)
			_ = c.Close()
			return
		}
		_, err := c.Read(b)
		ended <- err
	})
	s := cloudsqltest.NewServer()
	defer s.Close()
	c := newClient(t, s, cloudsqltest.Instance{Backend: addr})
	config := c.config()
	start := func(what string) net.Conn {
		conn, err := c.connect(config)
		wantNil(t, err)
		_, err = io.WriteString(conn, what)
		wantNil(t, err)
		return conn
	}

	conn := start("reset me")
	defer conn.Close()
	if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the backend has reset the connection, the client got %v", err)
	}

	conn = start("wait")
	eventually(func() int { return c.p.Counts().Handshakes }, 2)
	raw := conn.(*tls.Conn).NetConn().(*net.TCPConn)
	wantNil(t, raw.SetLinger(0))
	wantNil(t, raw.Close())
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the client has reset the connection, the backend does not know")
	}
}

func TestBackendThatCannotBeReachedEndsTheConnection(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	wantNil(t, err)
	wantNil(t, l.Close())
	s := cloudsqltest.NewServer()
	defer s.Close()
	c := newClient(t, s, cloudsqltest.Instance{Backend: l.Addr().String()})
	conn, err := c.connect(c.config())
	wantNil(t, err)
	defer conn.Close()
	if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("got %v, want EOF", err)
	}
	c.wantCounts(cloudsqltest.Counts{Accepted: 1, Handshakes: 1, Unserved: 1})
}

// Both copies of the forwarder can be stuck in the backend: one waits for it to
// read, the other for it to write.
func TestStopDoesNotWaitForABackendThatIsStuck(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	addr := backend(t, "tcp", "127.0.0.1:0", func(net.Conn) { <-release })
	s := cloudsqltest.NewServer()
	defer s.Close()
	defer close(release)
	c := newClient(t, s, cloudsqltest.Instance{Backend: addr})
	conn, err := c.connect(c.config())
	wantNil(t, err)
	defer conn.Close()
	wantNil(t, conn.SetWriteDeadline(time.Now().Add(500*time.Millisecond)))
	for err == nil { // until all buffers are full
		_, err = conn.Write(make([]byte, 1<<20))
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	start := time.Now()
	c.p.Stop()
	if took := time.Since(start); took > 4*time.Second {
		t.Errorf("Stop took %v", took)
	}
	c.wantCounts(cloudsqltest.Counts{Accepted: 1, Handshakes: 1, Cut: 1})
}

func TestLastWordsOfAHandlerArrive(t *testing.T) {
	const words = 1 << 20
	onLoopback(t, cloudsqltest.Instance{Handler: func(c net.Conn) { _, _ = c.Write(make([]byte, words)) }}, func(t *testing.T, c *client) {
		conn, err := c.connect(c.config())
		wantNil(t, err)
		defer conn.Close()
		_, err = conn.Write(make([]byte, 100_000)) // which nobody reads
		wantNil(t, err)
		if n, err := io.Copy(io.Discard, conn); n != words || err != nil {
			t.Errorf("read %d bytes, %v, want %d and the end", n, err, words)
		}
	})
}

func TestConnectionsWithoutTLSAreNoProblem(t *testing.T) {
	onBoth(t, cloudsqltest.Instance{}, func(t *testing.T, c *client) {
		for _, text := range []string{"", "GET / HTTP/1.0\r\n\r\n", "\x16\x03\x01\xff\xff"} {
			conn, err := c.dial(t.Context())
			wantNil(t, err)
			_, _ = io.WriteString(conn, text)
			_ = conn.(interface{ CloseWrite() error }).CloseWrite()
			if _, err := io.Copy(io.Discard, conn); err != nil && !errors.Is(err, syscall.ECONNRESET) {
				t.Error(err)
			}
			_ = conn.Close()
		}
		c.wantCounts(cloudsqltest.Counts{Accepted: 3, Failed: 3})
	})
}
