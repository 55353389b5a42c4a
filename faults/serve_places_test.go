package faults_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/memnet"
)

// wantEcho connects, and leaves.
func (s *serving) wantEcho() {
	s.t.Helper()
	c := s.connect()
	if err := echo(c); err != nil {
		s.t.Error(err)
	}
	_ = c.Close()
	synctest.Wait()
}

// A client of PostgreSQL that says nothing cannot be told anything. One a second
// of them kept everybody out, as each counted for the 5 s that it was waited for.
func TestARefusedClientTakesNoPlace(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		s := w.serve(testInstance, cloudsqlconn.WithMaxConnections(1))
		first := s.connect()
		if err := echo(first); err != nil {
			t.Fatal(err)
		}
		var refused []net.Conn
		for range 3 {
			refused = append(refused, s.connect())
			time.Sleep(time.Second)
		}
		_ = first.Close()
		synctest.Wait()
		s.wantEcho()
		for _, c := range refused {
			_, _ = io.ReadAll(c) // it has not been closed before
		}
		s.stop()
		s.wantEnd(0)
	})
	t.Run("whose Dial failed", func(t *testing.T) {
		inQuietWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
			s := w.serve(testInstance, cloudsqlconn.WithMaxConnections(1))
			s.wantEcho()
			w.instance.Stop()
			silent := s.connect()
			synctest.Wait()
			w.instance.Start()
			s.wantEcho()
			_ = silent.Close()
			s.stop()
			s.wantEnd(0)
		})
	})
}

// Silent clients cannot make Serve hold connections without number either.
func TestRefusalsAreBounded(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		const most = 64
		s := w.serve(testInstance, cloudsqlconn.WithMaxConnections(1))
		first := s.connect()
		if err := echo(first); err != nil {
			t.Fatal(err)
		}
		var waiting []net.Conn
		for range most {
			waiting = append(waiting, s.connect())
		}
		synctest.Wait()
		if d := took(func() { _, _ = io.ReadAll(s.connect()) }); d != 0 {
			t.Errorf("one too many was waited for, %v", d)
		}
		if d := took(func() { _, _ = io.ReadAll(waiting[0]) }); d != 5*time.Second {
			t.Errorf("one that may be told was waited for %v", d)
		}
		for _, c := range append(waiting, first) {
			_ = c.Close()
		}
		s.stop()
		s.wantEnd(0)
	})
}

// A client that does not notice that the server has gone kept its place for
// ever.
func TestAClientDoesNotOutstayItsServer(t *testing.T) {
	farewell := func(c net.Conn) { _, _ = io.WriteString(c, "bye") }
	inWorld(t, cloudsqltest.Instance{Handler: farewell}, func(t *testing.T, w *world) {
		s := w.serve(testInstance)
		c := s.connect()
		if text, err := io.ReadAll(c); string(text) != "bye" || err != nil {
			t.Errorf("%q, %v", text, err)
		}
		synctest.Wait()
		if n := w.dialer.Instances()[0].OpenConnections; n != 1 {
			t.Errorf("%d connections are open: the client has had no time to end", n)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := w.dialer.Instances()[0].OpenConnections; n != 0 {
			t.Errorf("%d connections are open", n)
		}
		if _, err := io.WriteString(c, "?"); err == nil {
			t.Error("the client was not cut")
		}
		s.stop()
		s.wantEnd(0)
	})
}

// A client that has said all it wants to say is waited for as long as the server
// answers.
func TestAServerOutstaysItsClient(t *testing.T) {
	late := func(c net.Conn) {
		_, _ = io.ReadAll(c)
		time.Sleep(time.Hour)
		_, _ = io.WriteString(c, "done")
	}
	inWorld(t, cloudsqltest.Instance{Handler: late}, func(t *testing.T, w *world) {
		s := w.serve(testInstance)
		c := s.connect().(*memnet.Conn)
		_, _ = io.WriteString(c, "work")
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(c); string(text) != "done" || err != nil {
			t.Errorf("%q, %v", text, err)
		}
		_ = c.Close()
		s.stop()
		s.wantEnd(0)
	})
}

// flaky is a listener that fails at first.
type flaky struct {
	net.Listener
	errs []error
}

func (l *flaky) Accept() (net.Conn, error) {
	if len(l.errs) > 0 {
		err := l.errs[0]
		l.errs = l.errs[1:]
		return nil, err
	}
	return l.Listener.Accept()
}

// There are no file descriptors left for a while, or something unheard of.
func TestServeOutlivesFailuresOfItsListener(t *testing.T) {
	exhausted := &net.OpError{Op: "accept", Err: os.NewSyscallError("accept", syscall.EMFILE)}
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		l := memnet.Listen("door")
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- w.dialer.Serve(ctx, &flaky{l, []error{exhausted, errors.New("protocol error"), io.ErrUnexpectedEOF}}, testInstance)
		}()
		c, err := l.DialContext(t.Context(), "tcp", "door")
		if err != nil {
			t.Fatal(err)
		}
		if d := took(func() { err = echo(c) }); err != nil || d < 35*time.Millisecond {
			t.Errorf("after %v: %v", d, err)
		}
		_ = c.Close()
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestServeLogsItsClients(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		var log strings.Builder
		w.withOptions(cloudsqlconn.WithLogger(slog.New(slog.NewJSONHandler(&log, nil))))
		s := w.serve(testInstance, cloudsqlconn.WithDrainTimeout(time.Second))
		c := s.connect()
		_, _ = io.WriteString(c, "hello")
		_, _ = io.ReadFull(c, make([]byte, 5))
		time.Sleep(time.Minute)
		_ = c.Close()
		synctest.Wait()
		c = s.connect()
		if err := echo(c); err != nil {
			t.Fatal(err)
		}
		s.stop()
		s.wantEnd(time.Second)

		s = w.serve("my-project:europe-west1:missing")
		_, _ = io.ReadAll(s.connect())
		s.stop()
		s.wantEnd(0)

		var got []string
		for line := range strings.Lines(log.String()) {
			var r struct {
				Level, Msg, Instance, Client, Error, Hint string
				Sent, Received, Connections               int64
				After                                     time.Duration
			}
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatal(err)
			}
			got = append(got, r.Level+" "+r.Msg)
			switch {
			case !strings.HasPrefix(r.Instance, "my-project:europe-west1:"), r.Client == "" && r.Connections == 0,
				r.Msg == "connection ended" && r.After == time.Minute && (r.Sent != 5 || r.Received != 5),
				r.Level == "WARN" && r.Connections == 0 && (!strings.Contains(r.Error, "instanceDoesNotExist") || !strings.Contains(r.Hint, "gcloud sql instances list")):
				t.Errorf("got %s", line)
			}
		}
		want := []string{
			"INFO client connected", "INFO connection ended",
			"INFO client connected", "INFO waiting for connections to end", "WARN connections are cut", "INFO connection ended",
			"WARN client not connected",
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}
