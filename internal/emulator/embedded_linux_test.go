package emulator

import (
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn"
)

// fakes counts the databases that are open. They send a letter, p after a login
// with a password and i after one with IAM, and wait for the client to leave.
type fakes struct {
	open, closed atomic.Int32
	fault        error // of Close
}

func (f *fakes) embedded() Embedded {
	return Embedded{"mysql": func(user, password, database string) (*Database, error) {
		f.open.Add(1)
		greet := func(letter string) func(net.Conn) {
			return func(c net.Conn) {
				defer c.Close()
				_, _ = io.WriteString(c, letter+user+password+database)
				_, _ = io.Copy(io.Discard, c)
			}
		}
		return &Database{About: "a fake", Version: "MYSQL_8_4", Serve: greet("p"), ServeIAM: greet("i"),
			Close: func() error { f.closed.Add(1); return f.fault }}, nil
	}}
}

func TestEmbeddedDatabaseServesByTheKindOfLogin(t *testing.T) {
	t.Parallel()
	f := &fakes{}
	p := startProgramWith(t, f.embedded(), "-engine", "mysql", "-backend", "embedded", "-any-iam-user")
	d := p.dialer()
	for iam, want := range map[bool]string{false: "pappappapp", true: "iappappapp"} {
		conn, err := d.Dial(t.Context(), defaultInstance, cloudsqlconn.WithIAMAuthN(iam))
		wantNil(t, err)
		b := make([]byte, len(want))
		if _, err := io.ReadFull(conn, b); err != nil || string(b) != want {
			t.Errorf("IAM login %v: got %q, %v", iam, b, err)
		}
		_ = conn.Close()
	}
	if s := p.change("GET", path, ""); s.Version != "MYSQL_8_4" || s.Database != "a fake, in this process, gone when it ends" {
		t.Errorf("got %+v", s)
	}
	if code, text := p.call("POST", "/instances", `{"name": "p:r:i", "backend": "embedded"}`); code != 422 {
		t.Errorf("an engine that is not there: %d %s", code, text)
	}
	p.change("DELETE", path, "")
	if got := f.closed.Load(); got != 1 {
		t.Errorf("closed %d times after the instance was deleted, want 1", got)
	}
	p.change("POST", "/instances", `{"name": "p:r:i", "engine": "mysql", "backend": "embedded"}`)
	p.stop()
	if f.open.Load() != 2 || f.closed.Load() != 2 {
		t.Errorf("opened %d, closed %d, want 2", f.open.Load(), f.closed.Load())
	}
}

func TestADatabaseThatDoesNotEndWellIsToldOnce(t *testing.T) {
	t.Parallel()
	f := &fakes{fault: errors.New("disk full")}
	p := startProgramWith(t, f.embedded(), "-engine", "mysql", "-backend", "embedded")
	p.change("POST", "/instances", `{"name": "p:r:i", "engine": "mysql", "backend": "embedded"}`)
	if code, text := p.call("DELETE", "/instances/p:r:i", ""); code != 500 || strings.Count(text, "disk full") != 1 {
		t.Errorf("deleted: %d %s", code, text)
	}
	if code := p.stop(); code != 1 || strings.Count(p.stderr.String(), "cloudsql-emulator: disk full") != 1 || strings.Contains(p.stderr.String(), "full\ndisk") {
		t.Errorf("exit code %d\n%s", code, p.stderr)
	}
}
