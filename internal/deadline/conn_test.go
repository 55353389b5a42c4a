package deadline_test

import (
	"errors"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/deadline"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/memnet"
)

// none is a connection that takes no deadlines, as those of an SSH client.
type none struct{ net.Conn }

var errNone = errors.New("ssh: tcpChan: deadline not supported")

func (none) SetDeadline(time.Time) error      { return errNone }
func (none) SetReadDeadline(time.Time) error  { return errNone }
func (none) SetWriteDeadline(time.Time) error { return errNone }

func TestAConnectionWithDeadlinesIsLeftAlone(t *testing.T) {
	t.Parallel()
	c, _ := memnet.Pair(memnet.Addr("a:1"), memnet.Addr("b:2"))
	if deadline.Of(c) != net.Conn(c) {
		t.Error("it is not")
	}
}

func TestOnlyACallThatWaitsClosesTheConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		raw, peer := memnet.Pair(memnet.Addr("a:1"), memnet.Addr("b:2"))
		c := deadline.Of(none{raw})
		read := func() error { _, err := c.Read(make([]byte, 1)); return err }

		_ = c.SetDeadline(time.Now().Add(time.Second))
		time.Sleep(time.Hour) // nobody waits
		if err := read(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("after the deadline: %v", err)
		}
		_ = c.SetDeadline(time.Time{})
		_, _ = peer.Write([]byte("x"))
		if err := read(); err != nil {
			t.Errorf("without a deadline again: %v", err)
		}

		// The pending Read takes the later deadline.
		start := time.Now()
		_ = c.SetReadDeadline(start.Add(time.Minute))
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := read(); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("a Read that waited: %v", err)
			}
		})
		time.Sleep(30 * time.Second)
		_ = c.SetReadDeadline(start.Add(time.Hour))
		wg.Wait()
		if d := time.Since(start); d != time.Hour {
			t.Errorf("the Read ended after %v", d)
		}
		if _, err := c.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a Write on the connection that is over: %v", err)
		}
		if err := raw.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("it was left open: %v", err)
		}
	})
}
