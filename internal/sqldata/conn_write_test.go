package sqldata_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata/wire"
)

// Google's connector sends a message for each Write, which costs a program that
// writes in small pieces more than its bytes do. Pieces that have to wait for
// another message travel together.
func TestSmallWritesThatWaitBecomeOneMessage(t *testing.T) {
	t.Parallel()
	var (
		got  []byte
		most int // bytes in a message
	)
	inWorld(t, func(s stream) error {
		if err := s.start(); err != nil {
			return err
		}
		time.Sleep(time.Hour)
		for {
			text, err := s.read()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			got, most = append(got, text...), max(most, len(text))
		}
	}, func(w *world) {
		c := w.connect()
		defer c.Close()
		var sent []byte
		for i := 0; ; i++ {
			piece := bytes.Repeat([]byte{byte(i)}, 1000)
			_ = c.SetWriteDeadline(time.Now().Add(time.Minute))
			n, err := c.Write(piece)
			sent = append(sent, piece[:n]...)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait() // a message for each, as long as messages go out
		}
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(c); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, sent) {
			t.Errorf("%d bytes have arrived, and not as the %d that were written", len(got), len(sent))
		}
		if most != wire.MaxChunk {
			t.Errorf("the largest message has %d bytes, want %d", most, wire.MaxChunk)
		}
	})
}

// The end of Writes was sent in front of a Write in progress now and then: its
// bytes were lost, though the Write had succeeded, and the connection failed with
// "SendMsg called after CloseSend".
func TestCloseWriteBesideAWriteEndsNothingElse(t *testing.T) {
	t.Parallel()
	inWorld(t, echo, func(w *world) {
		data := make([]byte, wire.MaxChunk)
		for range 300 {
			c := w.connect()
			var n int
			var wg sync.WaitGroup
			wg.Go(func() { n, _ = c.Write(data) })
			wg.Go(func() { _ = c.CloseWrite() })
			got, err := io.ReadAll(c)
			wg.Wait()
			if err != nil || len(got) != n {
				t.Errorf("%d bytes came back of %d, %v", len(got), n, err)
			}
			_ = c.Close()
		}
	})
}

// What a Write has taken arrives, and what it has not taken does not, though Close
// comes in the middle of it.
func TestCloseBesideAWriteLosesNothingThatWasTaken(t *testing.T) {
	t.Parallel()
	arrived := make(chan int)
	inWorld(t, func(s stream) error {
		if err := s.start(); err != nil {
			return err
		}
		n := 0
		for {
			text, err := s.read()
			if n += len(text); err != nil {
				arrived <- n
				return err
			}
		}
	}, func(w *world) {
		var beside int // Closes that a Write has met
		for i := range 300 {
			c := w.connect()
			var taken int
			var wg sync.WaitGroup
			began := make(chan bool)
			wg.Go(func() {
				data := make([]byte, wire.MaxChunk+i)
				for range 1000 {
					n, err := c.Write(data)
					if taken == 0 {
						close(began)
					}
					if taken += n; err != nil {
						if !errors.Is(err, net.ErrClosed) {
							t.Errorf("Write: %v", err)
						}
						beside++
						return
					}
				}
			})
			wg.Go(func() {
				<-began
				if err := c.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			})
			wg.Wait()
			if n := <-arrived; n != taken {
				t.Fatalf("%d bytes have arrived of %d", n, taken)
			}
		}
		if beside == 0 {
			t.Error("no Close came beside a Write")
		}
	})
}
