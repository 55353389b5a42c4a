package secondway_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/secondway"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/memnet"
)

var (
	errRefused = errors.New("refused")
	errNoWay   = errors.New("no way")
)

// refusable is a first connection, which can be refused.
type refusable struct {
	*memnet.Conn
	refused atomic.Bool
	takes   int // of a Write before it is refused; 0: all, and it is not
}

func (c *refusable) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	return n, c.why(err)
}

func (c *refusable) Write(b []byte) (int, error) {
	if c.takes > 0 {
		n, _ := c.Conn.Write(b[:c.takes])
		return n, errRefused
	}
	n, err := c.Conn.Write(b)
	return n, c.why(err)
}

func (c *refusable) why(err error) error {
	if err != nil && c.refused.Load() && !errors.Is(err, net.ErrClosed) && !errors.Is(err, os.ErrDeadlineExceeded) {
		return errRefused
	}
	return err
}

// world is a Conn whose second way takes a minute.
type world struct {
	t      *testing.T
	conn   *secondway.Conn
	first  *refusable
	peer   *memnet.Conn // of the first
	second *memnet.Conn // the peer of the second
	client *memnet.Conn // the second
	opened atomic.Int64
	fail   error  // of opening
	late   error  // of Go
	after  func() // the switch; nil: nothing
	wg     sync.WaitGroup
}

const opening = time.Minute

func inWorld(t *testing.T, test func(w *world)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t}
		client, peer := memnet.Pair(memnet.Addr("c1"), memnet.Addr("first"))
		w.first, w.peer = &refusable{Conn: client}, peer
		w.client, w.second = memnet.Pair(memnet.Addr("c2"), memnet.Addr("second"))
		w.conn = secondway.New(w.first, secondway.Way{
			Refused: func(err error) bool { return errors.Is(err, errRefused) },
			Open:    w.open,
			Go: func(f func()) error {
				if w.late == nil {
					w.wg.Go(func() {
						f()
						if w.after != nil {
							w.after()
						}
					})
				}
				return w.late
			},
		})
		test(w)
		_ = w.conn.Close()
		w.wg.Wait()
		wantClosed(t, w.first)
		if w.opened.Load() > 0 && w.fail == nil {
			wantClosed(t, w.client)
		}
	})
}

func wantClosed(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a connection to %v is left open: %v", c.RemoteAddr(), err)
	}
}

func (w *world) open(ctx context.Context, written []byte) (net.Conn, error) {
	w.opened.Add(1)
	select {
	case <-time.After(opening):
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if w.fail != nil {
		return nil, w.fail
	}
	_, err := w.client.Write(written)
	return w.client, err
}

// refuse has the first connection refused.
func (w *world) refuse() {
	w.first.refused.Store(true)
	w.peer.Reset()
}

func (w *world) write(b []byte) {
	w.t.Helper()
	if n, err := w.conn.Write(b); n != len(b) || err != nil {
		w.t.Fatalf("wrote %d of %d bytes, %v", n, len(b), err)
	}
}

// wantRead reads exactly want.
func (w *world) wantRead(from io.Reader, want []byte) {
	w.t.Helper()
	b := make([]byte, len(want))
	if n, err := io.ReadFull(from, b); err != nil || !bytes.Equal(b, want) {
		w.t.Fatalf("read %.50q, %v; want %.50q", b[:n], err, want)
	}
}

func (w *world) wantError(err, want error) {
	w.t.Helper()
	if !errors.Is(err, want) {
		w.t.Fatalf("got %v, want %v", err, want)
	}
}

// reading reads one byte in the background.
func (w *world) reading() <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := w.conn.Read(make([]byte, 1))
		done <- err
	}()
	synctest.Wait()
	return done
}

func TestTheFirstConnectionIsUsedWhileItIsNotRefused(t *testing.T) {
	inWorld(t, func(w *world) {
		big := bytes.Repeat([]byte("x"), secondway.Most+1)
		w.write(big)
		w.wantRead(w.peer, big)
		_, _ = w.peer.Write([]byte("yes"))
		w.wantRead(w.conn, []byte("yes"))
		w.refuse() // too late: it is an error like any other
		_, err := w.conn.Read(make([]byte, 1))
		w.wantError(err, errRefused)
		_, err = w.conn.Write([]byte("x"))
		w.wantError(err, errRefused)
		if w.opened.Load() != 0 || w.conn.RemoteAddr().String() != "first" {
			t.Error("there was a switch")
		}
	})
}

func TestWhatWasWrittenIsWrittenAgain(t *testing.T) {
	for name, find := range map[string]func(w *world){
		"a Read finds it": func(w *world) {
			done := w.reading()
			w.refuse()
			synctest.Wait()
			_, _ = w.second.Write([]byte("y"))
			w.wantError(<-done, nil)
		},
		"a Write finds it": func(w *world) {
			w.refuse()
			w.write([]byte(" and more"))
		},
		"both do": func(w *world) {
			done := w.reading()
			w.refuse()
			w.write([]byte(" and more"))
			_, _ = w.second.Write([]byte("y"))
			w.wantError(<-done, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				all := bytes.Repeat([]byte("0123456789abcdef"), secondway.Most/16)
				w.write(all[:10])
				w.write(all[10:])
				find(w)
				w.wantRead(w.second, all)
				if name != "a Read finds it" {
					w.wantRead(w.second, []byte(" and more"))
				}
				w.write([]byte("go on"))
				w.wantRead(w.second, []byte("go on"))
				_, _ = w.second.Write([]byte("z"))
				w.wantRead(w.conn, []byte("z"))
				if n := w.opened.Load(); n != 1 || w.conn.RemoteAddr().String() != "second" || w.conn.LocalAddr().String() != "c2" {
					t.Errorf("opened %d times, now at %v", n, w.conn.RemoteAddr())
				}
			})
		})
	}
}

func TestOneByteTooMuchIsAnError(t *testing.T) {
	inWorld(t, func(w *world) {
		w.write(make([]byte, secondway.Most+1))
		w.refuse()
		for range 2 {
			_, err := w.conn.Read(make([]byte, 1))
			w.wantError(err, errRefused)
			much, ok := errors.AsType[*secondway.TooMuchError](err)
			if !ok || much.Written != secondway.Most+1 || !strings.Contains(err.Error(), "65537 bytes") {
				t.Errorf("got %v", err)
			}
			_, err = w.conn.Write([]byte("x"))
			w.wantError(err, errRefused)
		}
		if w.opened.Load() != 0 {
			t.Error("another way was tried")
		}
	})
}

func TestDeadlinesHoldDuringTheSwitchAndAfterIt(t *testing.T) {
	inWorld(t, func(w *world) {
		_ = w.conn.SetDeadline(time.Now().Add(10 * time.Second))
		_, err := w.conn.Read(make([]byte, 1))
		w.wantError(err, os.ErrDeadlineExceeded) // before
		_ = w.conn.SetDeadline(time.Now().Add(10 * time.Second))
		w.refuse()
		start := time.Now()
		_, err = w.conn.Read(make([]byte, 1))
		w.wantError(err, os.ErrDeadlineExceeded) // during
		_, err = w.conn.Write([]byte("x"))
		w.wantError(err, os.ErrDeadlineExceeded)
		if d := time.Since(start); d != 10*time.Second {
			t.Errorf("the deadline came after %v", d)
		}
		_ = w.conn.SetReadDeadline(time.Time{})
		done := w.reading()
		_ = w.conn.SetReadDeadline(time.Now().Add(time.Second)) // of a Read that waits already
		w.wantError(<-done, os.ErrDeadlineExceeded)

		later := time.Now().Add(2 * opening)
		_ = w.conn.SetReadDeadline(later)
		_ = w.conn.SetWriteDeadline(time.Now().Add(time.Second))
		_, err = w.conn.Read(make([]byte, 1)) // goes on after the switch
		w.wantError(err, os.ErrDeadlineExceeded)
		if !time.Now().Equal(later) {
			t.Errorf("the deadline came at %v, want %v", time.Now(), later)
		}
		if w.conn.RemoteAddr().String() != "second" {
			t.Fatal("the switch did not go on meanwhile")
		}
		_, err = w.conn.Write([]byte("x"))
		w.wantError(err, os.ErrDeadlineExceeded) // set during the switch
		_ = w.conn.SetDeadline(time.Time{})
		w.write([]byte("x"))
		w.wantRead(w.second, []byte("x"))
	})
}

func TestCloseEndsTheSwitchAndWhoWaitsForIt(t *testing.T) {
	inWorld(t, func(w *world) {
		w.write([]byte("x"))
		done := w.reading()
		w.refuse()
		synctest.Wait()
		start := time.Now()
		if err := w.conn.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		w.wantError(<-done, net.ErrClosed)
		w.wg.Wait()
		if d := time.Since(start); d != 0 {
			t.Errorf("it took %v", d)
		}
		_, err := w.conn.Read(make([]byte, 1))
		w.wantError(err, net.ErrClosed)
		_, err = w.conn.Write([]byte("x"))
		w.wantError(err, net.ErrClosed)
		w.wantError(w.conn.Close(), net.ErrClosed)
		_ = w.client.Close() // it was not opened
	})
}

func TestASecondWayThatFailsIsTold(t *testing.T) {
	inWorld(t, func(w *world) {
		w.fail = errNoWay
		done := w.reading()
		w.refuse()
		w.wantError(<-done, errNoWay)
		_, err := w.conn.Write([]byte("x"))
		w.wantError(err, errNoWay)
		w.wantError(w.conn.CloseWrite(), errNoWay)
	})
}

func TestThereCanBeNoSecondWayAnyMore(t *testing.T) {
	inWorld(t, func(w *world) {
		w.late = errNoWay
		done := w.reading()
		w.refuse()
		err := <-done
		w.wantError(err, errNoWay)
		w.wantError(err, errRefused)
	})
}

func TestTheEndOfWritesIsToldToBoth(t *testing.T) {
	for name, during := range map[string]bool{"before the switch": false, "during the switch": true} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.write([]byte("all"))
				if !during {
					w.wantError(w.conn.CloseWrite(), nil)
				}
				done := w.reading()
				w.refuse()
				synctest.Wait()
				if during {
					w.wantError(w.conn.CloseWrite(), nil)
				}
				if b, err := io.ReadAll(w.second); string(b) != "all" || err != nil {
					t.Errorf("the second got %q, %v", b, err)
				}
				_, _ = w.second.Write([]byte("y"))
				w.wantError(<-done, nil)
			})
		})
	}
}

func TestOtherErrorsOfTheFirstAreItsOwn(t *testing.T) {
	inWorld(t, func(w *world) {
		_ = w.peer.Close()
		_, err := w.conn.Read(make([]byte, 1))
		w.wantError(err, io.EOF)
		if w.opened.Load() != 0 {
			t.Error("another way was tried")
		}
	})
}

// A Write that does not come to its end, since the other side reads nothing, is
// ended by the switch, and goes on after it.
func TestAWriteGoesOnAfterTheSwitch(t *testing.T) {
	inWorld(t, func(w *world) {
		w.write(make([]byte, 1000))
		small := make([]byte, 10)
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() { _, _ = w.conn.Write(small) })
		}
		done := w.reading()
		w.refuse()
		wg.Wait()
		_, _ = w.second.Write([]byte("y"))
		w.wantError(<-done, nil)
		w.wantRead(w.second, make([]byte, 1200))
	})
}

// A Write of which the first connection has taken a part ends before another begins.
func TestWritesDoNotMixAfterTheSwitch(t *testing.T) {
	inWorld(t, func(w *world) {
		w.first.takes = len("one ")
		w.after = func() { _, _ = w.conn.Write([]byte(" two two")) }
		w.write([]byte("one one"))
		w.wantRead(w.second, []byte("one one two two"))
	})
}
