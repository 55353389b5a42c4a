package memnet

import (
	"bytes"
	"crypto/rand"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

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
