package memnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestMain(m *testing.M) {
	before := runtime.NumGoroutine()
	code := m.Run()
	// A goroutine may still be on its way out after whoever waited for it went on.
	for range 10_000 {
		if runtime.NumGoroutine() <= before {
			break
		}
		runtime.Gosched()
	}
	if runtime.NumGoroutine() > before {
		fmt.Fprintln(os.Stderr, "goroutines left after the tests:")
		pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
		code = 1
	}
	os.Exit(code)
}

var (
	addrA = Addr("10.0.0.1:40000")
	addrB = Addr("10.0.0.2:3307")
	past  = time.Unix(1, 0)
)

// pair returns the two ends of a connection over network, "memnet" or "tcp".
func pair(t testing.TB, network string) (a, b net.Conn) {
	t.Helper()
	if network == "memnet" {
		a, b = Pair(addrA, addrB)
		return a, b
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	wantNil(t, err)
	defer l.Close()
	a, err = net.Dial("tcp", l.Addr().String())
	wantNil(t, err)
	b, err = l.Accept()
	wantNil(t, err)
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func wantNil(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantError checks that err is a *net.OpError that wraps want.
func wantError(t testing.TB, err, want error) {
	t.Helper()
	if op := (*net.OpError)(nil); !errors.As(err, &op) || !errors.Is(err, want) {
		t.Fatalf("error is %#v, want a *net.OpError that wraps %v", err, want)
	}
	var ne net.Error
	if timeout := want == os.ErrDeadlineExceeded; errors.As(err, &ne) && ne.Timeout() != timeout {
		t.Fatalf("Timeout() = %t, want %t", ne.Timeout(), timeout)
	}
}

// wantRead checks that the next bytes from r are want.
func wantRead(t testing.TB, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v, want %q", got[:n], err, want)
	}
}

func write(t testing.TB, w io.Writer, s string) {
	t.Helper()
	if n, err := io.WriteString(w, s); n != len(s) || err != nil {
		t.Fatalf("wrote %d bytes of %d: %v", n, len(s), err)
	}
}

func closeWrite(c net.Conn) error { return c.(interface{ CloseWrite() error }).CloseWrite() }

func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		tcp.SetLinger(0)
		tcp.Close()
		return
	}
	c.(*Conn).Reset()
}

func read(c net.Conn) error {
	_, err := c.Read(make([]byte, 1))
	return err
}

// writeUntilError is how an error of Write shows on TCP, which takes what it
// has room for before it learns about the peer.
func writeUntilError(c net.Conn) error {
	for chunk := make([]byte, 64<<10); ; {
		if _, err := c.Write(chunk); err != nil {
			return err
		}
	}
}

// after runs f while the caller is probably blocked. The outcome must be the
// same when it is not.
func after(t testing.TB, f func()) {
	var wg sync.WaitGroup
	wg.Go(func() {
		for range 100 {
			runtime.Gosched()
		}
		f()
	})
	t.Cleanup(wg.Wait)
}

func TestDeadlinesRunOnFakeTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := Pair(addrA, addrB)
		start := time.Now()
		wantSince := func(want time.Duration) {
			t.Helper()
			if got := time.Since(start); got != want {
				t.Fatalf("%v have passed, want %v", got, want)
			}
		}

		a.SetReadDeadline(start.Add(time.Minute))
		wantError(t, read(a), os.ErrDeadlineExceeded)
		wantSince(time.Minute)

		// The pending Read takes the later deadline.
		a.SetReadDeadline(start.Add(2 * time.Minute))
		go func() {
			time.Sleep(30 * time.Second)
			a.SetReadDeadline(start.Add(time.Hour))
		}()
		wantError(t, read(a), os.ErrDeadlineExceeded)
		wantSince(time.Hour)

		// And waits without one once it is cleared.
		a.SetReadDeadline(start.Add(2 * time.Hour))
		go func() {
			time.Sleep(time.Minute)
			a.SetReadDeadline(time.Time{})
			time.Sleep(22*time.Hour + 59*time.Minute)
			write(t, b, "late")
		}()
		wantRead(t, a, "late")
		wantSince(24 * time.Hour)

		a.SetWriteDeadline(start.Add(25 * time.Hour))
		n, err := a.Write(make([]byte, bufferSize+1))
		wantError(t, err, os.ErrDeadlineExceeded)
		if n != bufferSize {
			t.Errorf("wrote %d bytes, want %d", n, bufferSize)
		}
		wantSince(25 * time.Hour)
	})
}

func TestWriterWaitsForTheReader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := Pair(addrA, addrB)
		written := 0
		go func() {
			for range 4 {
				n, _ := a.Write(make([]byte, bufferSize/2+1))
				written += n
			}
			a.Close()
		}()
		wantWritten := func(want int) {
			t.Helper()
			synctest.Wait()
			if written != want {
				t.Fatalf("wrote %d bytes, want %d", written, want)
			}
		}
		wantWritten(bufferSize/2 + 1)
		io.CopyN(io.Discard, b, 1)
		wantWritten(bufferSize/2 + 1)
		io.CopyN(io.Discard, b, 1)
		wantWritten(bufferSize + 2)
		rest, err := io.Copy(io.Discard, b)
		if want := int64(2*bufferSize + 2); rest != want || err != nil {
			t.Fatalf("read %d bytes, %v, want %d", rest, err, want)
		}
		wantWritten(2*bufferSize + 4)
	})
}

func TestCloseOfThePeerInterruptsWrite(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := Pair(addrA, addrB)
		time.AfterFunc(time.Minute, func() { b.Close() })
		n, err := a.Write(make([]byte, 2*bufferSize))
		wantError(t, err, syscall.EPIPE)
		if n != bufferSize {
			t.Errorf("wrote %d bytes, want %d", n, bufferSize)
		}
	})
}

func TestCloseWithUnreadDataIsNotAReset(t *testing.T) {
	t.Parallel()
	a, b := Pair(addrA, addrB)
	write(t, a, "unread")
	write(t, b, "bye")
	wantNil(t, b.Close())
	wantRead(t, a, "bye")
	if err := read(a); err != io.EOF {
		t.Errorf("read failed with %v, want EOF", err)
	}
}

func TestResetDropsWhatIsBuffered(t *testing.T) {
	t.Parallel()
	a, b := Pair(addrA, addrB)
	write(t, b, "lost")
	wantNil(t, b.Close())
	b.Reset()
	for range 2 {
		wantError(t, read(a), syscall.ECONNRESET)
		_, err := a.Write([]byte("x"))
		wantError(t, err, syscall.ECONNRESET)
	}
	wantNil(t, a.Close())
	wantError(t, read(a), net.ErrClosed)
}

// Not parallel: it counts goroutines.
func TestConnectionsHaveNoGoroutines(t *testing.T) {
	l := Listen(addrB.String())
	before := runtime.NumGoroutine()
	for range 1000 {
		a, err := l.DialContext(t.Context(), "tcp", "")
		wantNil(t, err)
		b, err := l.Accept()
		wantNil(t, err)
		wantNil(t, a.SetDeadline(time.Now().Add(time.Hour)))
		write(t, a, "ping")
		wantRead(t, b, "ping")
		defer a.Close()
	}
	if n := runtime.NumGoroutine(); n > before {
		t.Errorf("%d goroutines, want at most %d", n, before)
	}
}

func TestIdleConnectionsGiveTheirBuffersBack(t *testing.T) {
	t.Parallel()
	a, b := Pair(addrA, addrB)
	write(t, a, strings.Repeat("x", bufferSize))
	wantRead(t, b, strings.Repeat("x", bufferSize))
	if n := len(b.in.buf.chunks); n != 0 {
		t.Errorf("an idle connection holds %d chunks", n)
	}
}

func TestEverythingAtOnce(t *testing.T) {
	t.Parallel()
	l := Listen(addrB.String())
	var wg sync.WaitGroup
	defer wg.Wait()
	use := func(c net.Conn) {
		wg.Go(func() { io.Copy(io.Discard, c) })
		wg.Go(func() { writeUntilError(c) })
		wg.Go(func() { writeUntilError(c) })
		wg.Go(func() {
			for c.SetDeadline(time.Now().Add(time.Hour)) == nil {
				runtime.Gosched()
			}
		})
	}
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			use(c)
			wg.Go(func() { c.Close() })
		}
	})
	for range 50 {
		c, err := l.DialContext(t.Context(), "tcp", "")
		wantNil(t, err)
		use(c)
		wg.Go(func() { closeWrite(c) })
		wg.Go(func() { reset(c) })
	}
	// Dials race with Close; a connection that nobody accepts must not be stuck.
	for range 8 {
		wg.Go(func() {
			for {
				c, err := l.DialContext(context.Background(), "tcp", "")
				if err != nil {
					return
				}
				io.Copy(io.Discard, c)
				c.Close()
			}
		})
	}
	l.Close()
}
