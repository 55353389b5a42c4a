package memnet

import (
	"context"
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

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
