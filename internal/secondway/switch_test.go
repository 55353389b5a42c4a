package secondway_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"weak"

	"github.com/cloudsqlconn/cloudsqlconn/internal/secondway"
)

// stalled is a first connection that takes so much of a Write, and then no more.
type stalled struct {
	*refusable
	takes  int
	closed chan struct{}
	once   sync.Once
}

func (c *stalled) Write(b []byte) (int, error) {
	if len(b) <= c.takes {
		return len(b), nil
	}
	<-c.closed
	return c.takes, net.ErrClosed
}

func (c *stalled) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.refusable.Close()
}

// stall puts a connection over one that stalls in the place of the world's.
func (w *world) stall(takes int) {
	w.conn = secondway.New(&stalled{refusable: w.first, takes: takes, closed: make(chan struct{})}, secondway.Way{
		Refused: func(err error) bool { return errors.Is(err, errRefused) },
		Open:    w.open,
		Go:      func(f func()) error { w.wg.Go(f); return nil },
	})
}

// A refusal that a Read finds during a Write: what that Write had put on the first
// connection was not written again if it was more than is kept, nor was anything
// before it, and the second got the rest as if it were the beginning.
func TestARefusalDuringAWriteOfMoreThanIsKeptIsAnError(t *testing.T) {
	inWorld(t, func(w *world) {
		w.stall(secondway.Most)
		w.write([]byte("the beginning"))
		written := make(chan error, 1)
		go func() {
			_, err := w.conn.Write(make([]byte, 2*secondway.Most))
			written <- err
		}()
		synctest.Wait()
		done := w.reading()
		w.refuse()
		for _, err := range []error{<-written, <-done} {
			much, ok := errors.AsType[*secondway.TooMuchError](err)
			if !ok || !errors.Is(err, errRefused) || much.Written != secondway.Most+int64(len("the beginning")) {
				t.Errorf("got %v", err)
			}
		}
		if w.opened.Load() != 0 {
			t.Error("another way was tried")
		}
	})
}

// What a Write had put on the first connection when it was ended by the switch
// was added while the second connection was being given what was there.
func TestWhatAWriteInProgressHasWrittenIsWrittenAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		all := bytes.Repeat([]byte("0123456789abcdef"), 1000)
		w.stall(len(all) / 2)
		written := make(chan error, 1)
		go func() {
			_, err := w.conn.Write(all)
			written <- err
		}()
		synctest.Wait()
		done := w.reading()
		w.refuse()
		w.wantRead(w.second, all)
		w.wantError(<-written, nil)
		_, _ = w.second.Write([]byte("y"))
		w.wantError(<-done, nil)
	})
}

// CloseWrite waits for the switch that has begun since it looked.
func (c *stalled) CloseWrite() error {
	if c.takes > 0 {
		return c.refusable.CloseWrite()
	}
	<-c.closed
	return net.ErrClosed
}

// The end of Writes that met the beginning of the switch failed, though the second
// connection was told of it. Serve ends both connections then.
func TestTheEndOfWritesSucceedsBesideTheSwitch(t *testing.T) {
	inWorld(t, func(w *world) {
		w.stall(0)
		ended := make(chan error, 1)
		go func() { ended <- w.conn.CloseWrite() }()
		synctest.Wait()
		done := w.reading()
		w.refuse()
		w.wantError(<-ended, nil)
		if b, err := io.ReadAll(w.second); len(b) > 0 || err != nil {
			t.Errorf("the second got %q, %v", b, err)
		}
		_, _ = w.second.Write([]byte("y"))
		w.wantError(<-done, nil)
	})
}

// Whoever closes a connection whose switch has failed was told that it had been
// closed before.
func TestTheFirstCloseAfterAFailedSwitchSucceeds(t *testing.T) {
	inWorld(t, func(w *world) {
		w.fail = errNoWay
		done := w.reading()
		w.refuse()
		w.wantError(<-done, errNoWay)
		if err := w.conn.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		w.wantError(w.conn.Close(), net.ErrClosed)
	})
}

// The second way has what the program's first call had, for the life of a connection.
func TestAConnectionThatIsUsedHoldsOnToNoSecondWay(t *testing.T) {
	t.Parallel()
	client, server := net.Pipe()
	defer server.Close()
	large := new([1 << 20]byte)
	held := weak.Make(large)
	c := secondway.New(client, secondway.Way{
		Refused: func(error) bool { return large[0] == 1 },
		Open:    func(context.Context, []byte) (net.Conn, error) { return nil, errNoWay },
		Go:      func(f func()) error { go f(); return nil },
	})
	defer c.Close()
	if runtime.GC(); held.Value() == nil {
		t.Fatal("nothing is held on to before the first Read")
	}
	go func() { _, _ = server.Write([]byte("hello")) }()
	if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	if runtime.GC(); held.Value() != nil {
		t.Error("the second way is still there")
	}
}
