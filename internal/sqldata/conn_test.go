package sqldata_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata/wire"
)

func TestBytesComeBackInTheirOrder(t *testing.T) {
	t.Parallel()
	inWorld(t, echo, func(w *world) {
		c := w.connect()
		if !c.Answered() || c.RemoteAddr().Network() != "grpc" || c.RemoteAddr().String() != "my-project:europe-west1:my-db" {
			t.Errorf("answered %v, from %v", c.Answered(), c.RemoteAddr())
		}
		sent := make([]byte, 1<<20)
		for i := range sent {
			sent[i] = byte(i * i >> 8)
		}
		go func() {
			_, _ = c.Write(sent)
			_ = c.CloseWrite()
		}()
		got, err := io.ReadAll(c)
		if err != nil || !bytes.Equal(got, sent) {
			t.Errorf("%d bytes, %v; want %d", len(got), err, len(sent))
		}
		wantError(t, errors.Join(c.Close()), nil)
		wantError(t, c.Close(), net.ErrClosed)
	})
}

// Google's connector takes deadlines and does nothing about them, so that a query
// of pgx with a context of 1 s returns after 6 s, without an error.
func TestAReadGoesOnAfterItsDeadline(t *testing.T) {
	t.Parallel()
	inWorld(t, func(s stream) error {
		if err := s.start(); err != nil {
			return err
		}
		for {
			text, err := s.read()
			if err != nil {
				return err
			}
			time.Sleep(5 * time.Second)
			if err := s.write(text); err != nil {
				return err
			}
		}
	}, func(w *world) {
		c := w.connect()
		defer c.Close()
		for range 3 {
			write(t, c, "hello")
			began := time.Now()
			_ = c.SetReadDeadline(began.Add(time.Second))
			for range 2 {
				_, err := c.Read(make([]byte, 10))
				wantError(t, err, os.ErrDeadlineExceeded)
				if e := net.Error(nil); !errors.As(err, &e) || !e.Timeout() {
					t.Errorf("%v is no timeout", err)
				}
			}
			if took := time.Since(began); took != time.Second {
				t.Errorf("the deadline came after %v", took)
			}
			_ = c.SetReadDeadline(time.Now().Add(time.Minute))
			wantRead(t, c, "hello")
		}
		// A deadline that is set while a Read waits ends it.
		done := make(chan error)
		go func() {
			_, err := c.Read(make([]byte, 1))
			done <- err
		}()
		synctest.Wait()
		_ = c.SetDeadline(time.Now())
		wantError(t, <-done, os.ErrDeadlineExceeded)
		_, err := c.Write([]byte("x"))
		wantError(t, err, os.ErrDeadlineExceeded)
		_ = c.SetDeadline(time.Time{})
		write(t, c, "again")
		wantRead(t, c, "again")
	})
}

func TestAWriteGoesOnAfterItsDeadline(t *testing.T) {
	t.Parallel()
	read := make(chan string, 1)
	inWorld(t, func(s stream) error {
		if err := s.start(); err != nil {
			return err
		}
		time.Sleep(time.Minute)
		var all strings.Builder
		for {
			text, err := s.read()
			if err != nil {
				read <- all.String()
				return err
			}
			all.WriteString(text)
		}
	}, func(w *world) {
		c := w.connect()
		sent := make([]byte, 4<<20)
		for i := range sent {
			sent[i] = byte(i * i >> 8)
		}
		_ = c.SetWriteDeadline(time.Now().Add(time.Second))
		n, err := c.Write(sent)
		wantError(t, err, os.ErrDeadlineExceeded)
		if n == 0 || n == len(sent) {
			t.Fatalf("the fault did not happen: %d bytes were taken", n)
		}
		_ = c.SetWriteDeadline(time.Time{})
		write(t, c, string(sent[n:]))
		_ = c.Close()
		if got := <-read; got != string(sent) {
			t.Errorf("%d bytes have arrived, want %d", len(got), len(sent))
		}
	})
}

// With Google's connector 27 of 200 arrive: Close ends the stream before what was
// written has gone.
func TestWhatWasWrittenBeforeCloseArrives(t *testing.T) {
	t.Parallel()
	got := make(chan int, 200)
	inWorld(t, func(s stream) error {
		if err := s.start(); err != nil {
			return err
		}
		n := 0
		for {
			text, err := s.read()
			if n += len(text); err != nil {
				got <- n
				return err
			}
		}
	}, func(w *world) {
		for range cap(got) {
			c := w.connect()
			write(t, c, strings.Repeat("x", 8<<10))
			_ = c.Close()
		}
		for range cap(got) {
			if n := <-got; n != 8<<10 {
				t.Fatalf("%d bytes have arrived", n)
			}
		}
	})
}

// A connection that nobody reads from at the other end is given up after a
// second, and Close returns at once.
func TestCloseWaitsForNobody(t *testing.T) {
	t.Parallel()
	inWorld(t, func(s stream) error {
		if err := s.start(); err != nil {
			return err
		}
		<-s.Context().Done()
		return nil
	}, func(w *world) {
		c := w.connect()
		errs := make(chan error)
		go func() {
			_, err := c.Write(make([]byte, 4<<20))
			errs <- err
		}()
		go func() {
			_, err := c.Read(make([]byte, 1))
			errs <- err
		}()
		synctest.Wait()
		began := time.Now()
		wantError(t, errors.Join(c.Close()), nil)
		wantError(t, <-errs, net.ErrClosed)
		wantError(t, <-errs, net.ErrClosed)
		if took := time.Since(began); took != 0 {
			t.Errorf("Close took %v", took)
		}
		if w.open.Load() != 1 {
			t.Fatal("the stream has ended too soon")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if w.open.Load() != 0 {
			t.Error("the stream is still open")
		}
	})
}

func TestALateAnswerComesAfterCloseWrite(t *testing.T) {
	t.Parallel()
	inWorld(t, func(s stream) error {
		if err := s.start(); err != nil {
			return err
		}
		for {
			if _, err := s.read(); err != nil {
				time.Sleep(time.Minute)
				return s.write("late")
			}
		}
	}, func(w *world) {
		c := w.connect()
		defer c.Close()
		write(t, c, "question")
		wantError(t, errors.Join(c.CloseWrite()), nil)
		if _, err := c.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("Write after CloseWrite: %v", err)
		}
		wantRead(t, c, "late")
		_, err := c.Read(make([]byte, 1))
		wantError(t, err, io.EOF)
	})
}

// What the server says last is read before the end, whatever the end looks like.
func TestTheEndComesAfterTheData(t *testing.T) {
	t.Parallel()
	lots := strings.Repeat("0123456789abcdef", 16<<10)
	for name, tt := range map[string]struct {
		end  func(s stream) error
		code codes.Code // OK: io.EOF
	}{
		"status OK":        {func(stream) error { return nil }, codes.OK},
		"terminate":        {func(s stream) error { return s.terminate(codes.OK, "bye") }, codes.OK},
		"terminate closed": {func(s stream) error { return s.terminate(codes.Canceled, wire.ServerClosed) }, codes.OK},
		"terminate failed": {func(s stream) error { return s.terminate(codes.Internal, "failed") }, codes.Internal},
		"server closed":    {func(stream) error { return status.Error(codes.Canceled, wire.ServerClosed+": the database") }, codes.OK},
		"client closed":    {func(stream) error { return status.Error(codes.Canceled, wire.ClientClosed) }, codes.OK},
		"canceled":         {func(stream) error { return status.Error(codes.Canceled, "why") }, codes.Canceled},
		"aborted":          {func(stream) error { return status.Error(codes.Aborted, wire.Disconnected) }, codes.Aborted},
		"lifetime":         {func(stream) error { return status.Error(codes.DeadlineExceeded, "too long") }, codes.DeadlineExceeded},
	} {
		for _, hangsOn := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				inWorld(t, func(s stream) error {
					if err := s.start(); err != nil {
						return err
					}
					if err := s.write(lots); err != nil {
						return err
					}
					err := tt.end(s)
					if hangsOn && err == nil && strings.HasPrefix(name, "terminate") {
						<-s.Context().Done()
					}
					return err
				}, func(w *world) {
					c := w.connect()
					defer c.Close()
					wantRead(t, c, lots)
					_, err := c.Read(make([]byte, 1))
					_, werr := c.Write([]byte("x"))
					if tt.code == codes.OK {
						wantError(t, err, io.EOF)
						wantError(t, werr, io.ErrClosedPipe)
						return
					}
					e, ok := errors.AsType[*sqldata.StatusError](err)
					if !ok || e.Code != tt.code || !errors.Is(werr, err) {
						t.Errorf("Read: %v, Write: %v", err, werr)
					}
				})
			})
		}
	}
}

// Google's connector says io.EOF. The reason stands behind data that nobody has
// read; that is not lost.
func TestAWriteToABrokenStreamTellsWhy(t *testing.T) {
	t.Parallel()
	broken := make(chan bool)
	inWorld(t, func(s stream) error {
		if err := s.start(); err != nil {
			return err
		}
		if err := s.write("last words"); err != nil {
			return err
		}
		<-broken
		return status.Error(codes.Aborted, wire.Disconnected)
	}, func(w *world) {
		c := w.connect()
		defer c.Close()
		write(t, c, "hello")
		close(broken)
		synctest.Wait()
		var err error
		for range 3 { // the first one may only find that it cannot be sent
			_, err = c.Write([]byte("x"))
			synctest.Wait() // else they may be one message
		}
		e, ok := errors.AsType[*sqldata.StatusError](err)
		if !ok || e.Code != codes.Aborted || e.Reason != wire.Disconnected {
			t.Errorf("Write: %v", err)
		}
		wantRead(t, c, "last words")
		_, rerr := c.Read(make([]byte, 1))
		wantError(t, rerr, err)
	})
}

// A server may send messages that say nothing, are of a kind to come, or larger
// than gRPC's default of 4 MiB.
func TestOddMessagesDoNoHarm(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("x", 5<<20)
	ack := int64(7)
	inWorld(t, func(s stream) error {
		if err := s.start(); err != nil {
			return err
		}
		for _, m := range []*wire.Response{{}, {Ack: &ack}, wire.NewResponse(nil), {Metadata: &wire.Metadata{}}, wire.NewResponse([]byte(large))} {
			if err := s.SendMsg(m); err != nil {
				return err
			}
		}
		return nil
	}, func(w *world) {
		c := w.connect()
		defer c.Close()
		wantRead(t, c, large)
	})
}

func TestStormOfDeadlines(t *testing.T) {
	t.Parallel()
	inWorld(t, echo, func(w *world) {
		c := w.connect()
		sent := make([]byte, 1<<20)
		for i := range sent {
			sent[i] = byte(i * i >> 8)
		}
		stop := make(chan bool)
		var wg sync.WaitGroup
		defer wg.Wait()
		for range 2 {
			wg.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
						_ = c.SetDeadline(time.Now().Add(time.Duration(i%7-1) * time.Millisecond))
						time.Sleep(time.Duration(i%3) * time.Millisecond)
					}
				}
			})
		}
		go func() {
			for rest := sent; len(rest) > 0; {
				n, err := c.Write(rest[:min(len(rest), 10_000)])
				if rest = rest[n:]; err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Error(err)
					return
				}
				if err != nil {
					time.Sleep(time.Millisecond)
				}
			}
		}()
		got := make([]byte, 0, len(sent))
		buf := make([]byte, 3000)
		for len(got) < len(sent) {
			n, err := c.Read(buf)
			if got = append(got, buf[:n]...); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal(err)
			}
			if err != nil {
				time.Sleep(time.Millisecond)
			}
		}
		close(stop)
		if !bytes.Equal(got, sent) {
			t.Error("something was lost")
		}
		_ = c.Close()
	})
}
