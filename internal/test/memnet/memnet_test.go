package memnet

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
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

func TestConnBehavesLikeTCP(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		do   func(t *testing.T, a, b net.Conn) error
		want string // the error, with the addresses of a as A and B
		is   error
	}{
		{
			name: "read the rest and EOF after the peer closed",
			do: func(t *testing.T, a, b net.Conn) error {
				write(t, b, "bye")
				wantNil(t, b.Close())
				wantRead(t, a, "bye")
				return read(a)
			},
			want: "EOF",
			is:   io.EOF,
		}, {
			name: "reply to a half closed peer",
			do: func(t *testing.T, a, b net.Conn) error {
				write(t, a, "question")
				wantNil(t, closeWrite(a))
				wantNil(t, closeWrite(a))
				question, err := io.ReadAll(b)
				wantNil(t, err)
				write(t, b, string(question)+" answered")
				wantRead(t, a, "question answered")
				return nil
			},
		}, {
			name: "write after CloseWrite",
			do: func(t *testing.T, a, b net.Conn) error {
				wantNil(t, closeWrite(a))
				_, err := a.Write([]byte("x"))
				return err
			},
			want: "write tcp A->B: write: broken pipe",
			is:   syscall.EPIPE,
		}, {
			name: "write after the peer closed",
			do: func(t *testing.T, a, b net.Conn) error {
				wantNil(t, b.Close())
				return writeUntilError(a)
			},
			want: "write tcp A->B: write: broken pipe",
			is:   syscall.EPIPE,
		}, {
			name: "read after Close",
			do: func(t *testing.T, a, b net.Conn) error {
				write(t, b, "unread")
				wantNil(t, a.Close())
				return read(a)
			},
			want: "read tcp A->B: use of closed network connection",
			is:   net.ErrClosed,
		}, {
			name: "read after both closed",
			do: func(t *testing.T, a, b net.Conn) error {
				wantNil(t, a.Close())
				wantNil(t, b.Close())
				return read(a)
			},
			want: "read tcp A->B: use of closed network connection",
			is:   net.ErrClosed,
		}, {
			name: "write after Close",
			do: func(t *testing.T, a, b net.Conn) error {
				wantNil(t, a.Close())
				wantNil(t, b.Close())
				_, err := a.Write([]byte("x"))
				return err
			},
			want: "write tcp A->B: use of closed network connection",
			is:   net.ErrClosed,
		}, {
			name: "second Close",
			do: func(t *testing.T, a, b net.Conn) error {
				wantNil(t, a.Close())
				return a.Close()
			},
			want: "close tcp A->B: use of closed network connection",
			is:   net.ErrClosed,
		}, {
			name: "CloseWrite after Close",
			do: func(t *testing.T, a, b net.Conn) error {
				wantNil(t, a.Close())
				return closeWrite(a)
			},
			want: "close tcp A->B: use of closed network connection",
			is:   net.ErrClosed,
		}, {
			name: "SetDeadline after Close",
			do: func(t *testing.T, a, b net.Conn) error {
				wantNil(t, a.Close())
				return a.SetDeadline(time.Time{})
			},
			want: "set tcp A: use of closed network connection",
			is:   net.ErrClosed,
		}, {
			name: "SetDeadline after the peer closed",
			do: func(t *testing.T, a, b net.Conn) error {
				wantNil(t, b.Close())
				return a.SetDeadline(past)
			},
		}, {
			name: "Close interrupts Read",
			do: func(t *testing.T, a, b net.Conn) error {
				after(t, func() { a.Close() })
				return read(a)
			},
			want: "read tcp A->B: use of closed network connection",
			is:   net.ErrClosed,
		}, {
			name: "Close interrupts Write",
			do: func(t *testing.T, a, b net.Conn) error {
				after(t, func() { a.Close() })
				return writeUntilError(a)
			},
			want: "write tcp A->B: use of closed network connection",
			is:   net.ErrClosed,
		}, {
			name: "read deadline passed with data waiting",
			do: func(t *testing.T, a, b net.Conn) error {
				write(t, b, "late")
				wantNil(t, a.SetReadDeadline(past))
				return read(a)
			},
			want: "read tcp A->B: i/o timeout",
			is:   os.ErrDeadlineExceeded,
		}, {
			name: "write deadline passed with room to write",
			do: func(t *testing.T, a, b net.Conn) error {
				wantNil(t, a.SetWriteDeadline(past))
				_, err := a.Write([]byte("x"))
				return err
			},
			want: "write tcp A->B: i/o timeout",
			is:   os.ErrDeadlineExceeded,
		}, {
			name: "deadline interrupts Read",
			do: func(t *testing.T, a, b net.Conn) error {
				after(t, func() { a.SetDeadline(past) })
				return read(a)
			},
			want: "read tcp A->B: i/o timeout",
			is:   os.ErrDeadlineExceeded,
		}, {
			name: "deadline interrupts Write",
			do: func(t *testing.T, a, b net.Conn) error {
				after(t, func() { a.SetDeadline(past) })
				return writeUntilError(a)
			},
			want: "write tcp A->B: i/o timeout",
			is:   os.ErrDeadlineExceeded,
		}, {
			name: "deadline in a moment",
			do: func(t *testing.T, a, b net.Conn) error {
				wantNil(t, a.SetReadDeadline(time.Now().Add(time.Millisecond)))
				return read(a)
			},
			want: "read tcp A->B: i/o timeout",
			is:   os.ErrDeadlineExceeded,
		}, {
			name: "cleared deadline",
			do: func(t *testing.T, a, b net.Conn) error {
				wantNil(t, a.SetDeadline(past))
				wantError(t, read(a), os.ErrDeadlineExceeded)
				wantNil(t, a.SetDeadline(time.Time{}))
				write(t, a, "ping")
				wantRead(t, b, "ping")
				write(t, b, "pong")
				wantRead(t, a, "pong")
				return nil
			},
		}, {
			name: "deadlines of one direction",
			do: func(t *testing.T, a, b net.Conn) error {
				wantNil(t, a.SetReadDeadline(past))
				write(t, a, "ping")
				wantNil(t, b.SetWriteDeadline(past))
				wantRead(t, b, "ping")
				return nil
			},
		}, {
			name: "Reset interrupts Read",
			do: func(t *testing.T, a, b net.Conn) error {
				after(t, func() { reset(b) })
				return read(a)
			},
			want: "read tcp A->B: read: connection reset by peer",
			is:   syscall.ECONNRESET,
		}, {
			name: "Reset interrupts Write",
			do: func(t *testing.T, a, b net.Conn) error {
				after(t, func() { reset(b) })
				return writeUntilError(a)
			},
			want: "write tcp A->B: write: connection reset by peer",
			is:   syscall.ECONNRESET,
		}, {
			name: "read after Reset of this end",
			do: func(t *testing.T, a, b net.Conn) error {
				reset(a)
				wantError(t, a.Close(), net.ErrClosed)
				return read(a)
			},
			want: "read tcp A->B: use of closed network connection",
			is:   net.ErrClosed,
		}, {
			name: "Read of nothing does not wait",
			do: func(t *testing.T, a, b net.Conn) error {
				n, err := a.Read(nil)
				if n != 0 {
					t.Errorf("Read = %d, want 0", n)
				}
				return err
			},
		}, {
			name: "Write of nothing",
			do: func(t *testing.T, a, b net.Conn) error {
				write(t, a, "")
				write(t, a, "x")
				wantRead(t, b, "x")
				return nil
			},
		}, {
			name: "4 MiB both ways at once",
			do: func(t *testing.T, a, b net.Conn) error {
				data := make([]byte, 4<<20)
				rand.Read(data)
				var wg sync.WaitGroup
				for _, c := range []net.Conn{a, b} {
					wg.Go(func() { c.Write(data); closeWrite(c) })
					wg.Go(func() {
						got, err := io.ReadAll(c)
						if err != nil || !bytes.Equal(got, data) {
							t.Errorf("read %d bytes, equal %t: %v", len(got), bytes.Equal(got, data), err)
						}
					})
				}
				wg.Wait()
				return nil
			},
		}, {
			name: "concurrent Writes do not mix",
			do: func(t *testing.T, a, b net.Conn) error {
				const size = 1 << 20
				var wg sync.WaitGroup
				defer wg.Wait()
				for _, s := range []string{"x", "y", "z"} {
					wg.Go(func() { io.WriteString(a, strings.Repeat(s, size)) })
				}
				for range 3 {
					got := make([]byte, size)
					if _, err := io.ReadFull(b, got); err != nil {
						return err
					}
					if n := bytes.Count(got, got[:1]); n != size {
						t.Errorf("%d bytes of %d are from the same Write", n, size)
					}
				}
				return nil
			},
		},
	}
	for _, test := range tests {
		for _, network := range []string{"memnet", "tcp"} {
			t.Run(test.name+"/"+network, func(t *testing.T) {
				t.Parallel()
				a, b := pair(t, network)
				err := test.do(t, a, b)
				got := ""
				if err != nil {
					got = err.Error()
				}
				got = strings.ReplaceAll(got, a.LocalAddr().String(), "A")
				got = strings.ReplaceAll(got, a.RemoteAddr().String(), "B")
				if got != test.want {
					t.Errorf("error is %q, want %q", got, test.want)
				}
				if err != io.EOF && test.is != nil {
					wantError(t, err, test.is)
				}
			})
		}
	}
}

func TestListenerBehavesLikeTCP(t *testing.T) {
	t.Parallel()
	type listener struct {
		net.Listener
		dial func(ctx context.Context, network, addr string) (net.Conn, error)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	tests := []struct {
		name string
		do   func(t *testing.T, l listener) error
		want string // the error, with the address of l as L; not compared if empty
		is   error
	}{
		{
			name: "dial and accept",
			do: func(t *testing.T, l listener) error {
				a, err := l.dial(t.Context(), "tcp", l.Addr().String())
				wantNil(t, err)
				defer a.Close()
				b, err := l.Accept()
				wantNil(t, err)
				defer b.Close()
				if a.LocalAddr().String() != b.RemoteAddr().String() || a.RemoteAddr().String() != b.LocalAddr().String() ||
					b.LocalAddr().String() != l.Addr().String() {
					t.Errorf("client %v->%v, server %v->%v", a.LocalAddr(), a.RemoteAddr(), b.LocalAddr(), b.RemoteAddr())
				}
				return nil
			},
		}, {
			name: "accept after Close",
			do: func(t *testing.T, l listener) error {
				wantNil(t, l.Close())
				_, err := l.Accept()
				return err
			},
			want: "accept tcp L: use of closed network connection",
			is:   net.ErrClosed,
		}, {
			name: "Close interrupts Accept",
			do: func(t *testing.T, l listener) error {
				after(t, func() { l.Close() })
				_, err := l.Accept()
				return err
			},
			want: "accept tcp L: use of closed network connection",
			is:   net.ErrClosed,
		}, {
			name: "second Close",
			do: func(t *testing.T, l listener) error {
				wantNil(t, l.Close())
				return l.Close()
			},
			want: "close tcp L: use of closed network connection",
			is:   net.ErrClosed,
		}, {
			name: "dial after Close",
			do: func(t *testing.T, l listener) error {
				wantNil(t, l.Close())
				_, err := l.dial(t.Context(), "tcp", l.Addr().String())
				return err
			},
			want: "dial tcp L: connect: connection refused",
			is:   syscall.ECONNREFUSED,
		}, {
			name: "dial with a canceled context",
			do: func(t *testing.T, l listener) error {
				_, err := l.dial(canceled, "tcp", l.Addr().String())
				return err
			},
			is: context.Canceled,
		}, {
			name: "Close resets what was not accepted",
			do: func(t *testing.T, l listener) error {
				a, err := l.dial(t.Context(), "tcp", l.Addr().String())
				wantNil(t, err)
				defer a.Close()
				wantNil(t, l.Close())
				wantError(t, read(a), syscall.ECONNRESET)
				return nil
			},
		},
	}
	for _, test := range tests {
		for _, network := range []string{"memnet", "tcp"} {
			t.Run(test.name+"/"+network, func(t *testing.T) {
				t.Parallel()
				var l listener
				if network == "tcp" {
					tcp, err := net.Listen("tcp", "127.0.0.1:0")
					wantNil(t, err)
					l = listener{tcp, new(net.Dialer).DialContext}
				} else {
					mem := Listen(addrB.String())
					l = listener{mem, mem.DialContext}
				}
				defer l.Close()
				err := test.do(t, l)
				if test.is == nil {
					wantNil(t, err)
					return
				}
				wantError(t, err, test.is)
				if got := strings.ReplaceAll(err.Error(), l.Addr().String(), "L"); test.want != "" && got != test.want {
					t.Errorf("error is %q, want %q", got, test.want)
				}
			})
		}
	}
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

func TestDialWaitsWhileTheBacklogIsFull(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := Listen(addrB.String())
		var clients []net.Conn
		for range backlogSize {
			c, err := l.DialContext(t.Context(), "tcp", "")
			wantNil(t, err)
			clients = append(clients, c)
		}

		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := l.DialContext(ctx, "tcp", "")
		if ne := net.Error(nil); !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &ne) || !ne.Timeout() {
			t.Fatalf("dial failed with %v, want a timeout", err)
		}
		if got := time.Since(start); got != time.Minute {
			t.Fatalf("dial gave up after %v, want 1m", got)
		}

		time.AfterFunc(time.Minute, func() {
			c, err := l.Accept()
			if err != nil || c.RemoteAddr() != clients[0].LocalAddr() {
				t.Errorf("accepted %v, %v, want the first client", c, err)
			}
		})
		_, err = l.DialContext(t.Context(), "tcp", "")
		wantNil(t, err)

		time.AfterFunc(time.Minute, func() { l.Close() })
		_, err = l.DialContext(t.Context(), "tcp", "")
		wantError(t, err, syscall.ECONNREFUSED)
		for _, c := range clients[1:] {
			wantError(t, read(c), syscall.ECONNRESET)
		}
	})
}

func TestTLSEchoes1MiB(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cert, roots := selfSigned(t, "db.example")
		a, b := Pair(addrA, addrB)
		server := tls.Server(b, &tls.Config{Certificates: []tls.Certificate{cert}})
		client := tls.Client(a, &tls.Config{RootCAs: roots, ServerName: "db.example"})

		go func() {
			defer server.Close()
			if _, err := io.Copy(server, server); err != nil {
				t.Error(err)
			}
		}()
		data := make([]byte, 1<<20)
		rand.Read(data)
		go func() {
			client.Write(data)
			client.CloseWrite()
		}()
		got, err := io.ReadAll(client)
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("read %d bytes, equal %t: %v", len(got), bytes.Equal(got, data), err)
		}
		wantNil(t, client.Close())
	})
}

func selfSigned(t *testing.T, name string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	wantNil(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		DNSNames:     []string{name},
		NotBefore:    time.Now(),
		NotAfter:     time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(nil, template, template, public, private)
	wantNil(t, err)
	leaf, err := x509.ParseCertificate(der)
	wantNil(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}, roots
}

func TestHTTPKeepsAConnectionThroughAnIdleHour(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := Listen(addrB.String())
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, r.RemoteAddr)
		})}
		go server.Serve(l)
		transport := &http.Transport{DialContext: l.DialContext}
		client := &http.Client{Transport: transport}

		get := func() string {
			resp, err := client.Get("http://db.example/")
			wantNil(t, err)
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			wantNil(t, err)
			return string(body)
		}
		first := get()
		time.Sleep(time.Hour)
		if second := get(); second != first {
			t.Errorf("second request came from %s, want %s", second, first)
		}

		// The server closes in good order, which it does only to idle connections.
		wantNil(t, server.Shutdown(t.Context()))
		if _, err := client.Get("http://db.example/"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("request after Shutdown failed with %v, want ECONNREFUSED", err)
		}
	})
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

// go test -bench . -count 10 ./internal/test/memnet
func BenchmarkCopy(b *testing.B) {
	for _, network := range []string{"memnet", "tcp"} {
		b.Run(network, func(b *testing.B) {
			from, to := pair(b, network)
			chunk := make([]byte, 32<<10)
			b.SetBytes(int64(len(chunk)))
			b.ReportAllocs()
			var wg sync.WaitGroup
			defer wg.Wait()
			wg.Go(func() { io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{to}, make([]byte, 32<<10)) })
			for b.Loop() {
				from.Write(chunk)
			}
			from.Close()
		})
	}
}

func BenchmarkPingPong(b *testing.B) {
	for _, network := range []string{"memnet", "tcp"} {
		b.Run(network, func(b *testing.B) {
			client, server := pair(b, network)
			b.ReportAllocs()
			var wg sync.WaitGroup
			defer wg.Wait()
			wg.Go(func() { io.CopyBuffer(struct{ io.Writer }{server}, struct{ io.Reader }{server}, make([]byte, 1024)) })
			message := make([]byte, 128)
			for b.Loop() {
				client.Write(message)
				io.ReadFull(client, message)
			}
			client.Close()
		})
	}
}
