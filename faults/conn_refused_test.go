package faults_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// writeUntilRefused writes until that fails, and never reads.
func writeUntilRefused(c net.Conn) error {
	for {
		if _, err := io.WriteString(c, "hello"); err != nil {
			return err
		}
	}
}

// A program that wrote twice before its first Read got a bare "broken pipe" when
// the server refused the client certificate: no hint, no ErrBadConn, and the
// certificate was kept, so that every Dial after that failed alike.
func TestARefusalMetByAWriteIsToldLikeOneMetByARead(t *testing.T) {
	t.Parallel()
	for name, newServer := range map[string]func() *cloudsqltest.Server{
		"sockets": cloudsqltest.NewServer,
		"memory":  cloudsqltest.NewMemoryServer,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer()
			defer s.Close()
			p := s.AddInstance(testInstance, cloudsqltest.Instance{})
			d, err := cloudsqlconn.NewDialer(context.Background(), s.Options()...)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			dial := func() net.Conn {
				t.Helper()
				c, err := d.Dial(t.Context(), testInstance)
				if err != nil {
					t.Fatal(err)
				}
				return c
			}
			_ = dial().Close()
			p.RotateClientCA()
			p.SetBehaviorFor(1, cloudsqltest.CloseAfterRefusal)
			c := dial()
			defer c.Close()
			err = writeUntilRefused(c)
			_, later := c.Read(make([]byte, 1))
			if p.Counts().Rejected != 1 {
				t.Fatalf("the fault did not happen: %+v", p.Counts())
			}
			for what, err := range map[string]error{"Write": err, "Read": later} {
				var e *cloudsqlconn.Error
				if !errors.As(err, &e) || e.Op != "handshake" || e.Hint == "" || !errors.Is(err, driver.ErrBadConn) {
					t.Errorf("%s: got %v, want a refusal", what, err)
				}
			}
			if c := dial(); echo(c) != nil {
				t.Error("the next connection does not work")
			} else {
				_ = c.Close()
			}
		})
	}
}

// Without an alert, a Write that fails is what a Read that fails is: a reason to
// look for fresh metadata. It tells what happened.
func TestAConnectionCutBeforeItsFirstReadTellsSo(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{Handler: func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }}, func(t *testing.T, w *world) {
		c, err := w.dialer.Dial(t.Context(), testInstance)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if n := w.instance.CutConnections(true); n != 1 {
			t.Fatal("the fault did not happen")
		}
		calls := w.calls()
		err = writeUntilRefused(c)
		if !errors.Is(err, syscall.ECONNRESET) || !strings.Contains(err.Error(), "has not said why") {
			t.Errorf("got %v", err)
		}
		time.Sleep(time.Minute)
		if w.calls() == calls {
			t.Error("nothing was asked about the instance")
		}
	})
}

// sshConn is a connection as an SSH client gives them: it takes no deadlines.
type sshConn struct{ net.Conn }

var errNoDeadline = errors.New("ssh: tcpChan: deadline not supported")

func (sshConn) SetDeadline(time.Time) error      { return errNoDeadline }
func (sshConn) SetReadDeadline(time.Time) error  { return errNoDeadline }
func (sshConn) SetWriteDeadline(time.Time) error { return errNoDeadline }

// throughSSH has the Dialer of w connect through an SSH client.
func throughSSH(w *world) cloudsqlconn.Option {
	return cloudsqlconn.WithDialFunc(func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := w.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return sshConn{c}, nil
	})
}

// Check of a silent database never ended through an SSH client: its connections
// take no deadlines.
func TestCheckOfASilentDatabaseEndsWithoutDeadlines(t *testing.T) {
	silent := func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
	inWorld(t, cloudsqltest.Instance{Handler: silent}, func(t *testing.T, w *world) {
		d := w.newDialer(throughSSH(w))
		defer d.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		var report *cloudsqlconn.Report
		if d := took(func() { report, _ = d.Check(ctx, testInstance) }); d > 5*time.Second {
			t.Errorf("Check took %v", d)
		}
		if report.OK() || !strings.Contains(report.String(), "no answer from the database") {
			t.Errorf("got %v", report)
		}
	})
}

// A Read or Write on such a connection has a deadline all the same: drivers end
// by it what a context has cancelled.
func TestConnectionsHaveDeadlinesWhateverIsBelow(t *testing.T) {
	silent := func(c net.Conn) { time.Sleep(time.Hour) }
	inWorld(t, cloudsqltest.Instance{Handler: silent}, func(t *testing.T, w *world) {
		d := w.newDialer(throughSSH(w))
		defer d.Close()
		dial := func() net.Conn {
			c, err := d.Dial(t.Context(), testInstance)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		for name, call := range map[string]func(net.Conn) (int, error){
			"Read":  func(c net.Conn) (int, error) { return c.Read(make([]byte, 1)) },
			"Write": func(c net.Conn) (int, error) { return c.Write(make([]byte, 1<<20)) },
		} {
			c := dial()
			var wg sync.WaitGroup
			wg.Go(func() {
				_, err := call(c)
				var timeout net.Error
				if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() {
					t.Errorf("%s: got %v", name, err)
				}
			})
			synctest.Wait()
			if err := c.SetDeadline(time.Unix(1, 0)); err != nil { // as pgx does
				t.Errorf("%s: SetDeadline: %v", name, err)
			}
			if d := took(wg.Wait); d > 0 {
				t.Errorf("%s ended %v after its deadline", name, d)
			}
			_ = c.Close()
		}
	})
}
