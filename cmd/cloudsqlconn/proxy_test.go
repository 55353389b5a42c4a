package main

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// firstLine is a writer that sends the first line written to it.
type firstLine chan string

func (f firstLine) Write(b []byte) (int, error) {
	select {
	case f <- string(b):
	default:
	}
	return len(b), nil
}

func TestProxyLeadsToTheInstance(t *testing.T) {
	t.Parallel()
	s := cloudsqltest.NewServer()
	defer s.Close()
	s.AddInstance(instance, cloudsqltest.Instance{}) // echoes
	socket := filepath.Join(t.TempDir(), "db.sock")
	for _, listen := range []string{"127.0.0.1:0", socket} {
		ctx, stop := context.WithCancel(t.Context())
		said, done := make(firstLine, 1), make(chan int, 1)
		go func() {
			done <- (&program{io.Discard, said, s.Options()}).run(ctx, []string{"proxy", "-listen", listen, instance})
		}()
		line := <-said
		name, addr, ok := strings.Cut(strings.TrimSpace(line), " (POSTGRES_16): listening on ")
		if name != instance || !ok {
			t.Fatalf("the program said %q", line)
		}
		network := "tcp"
		if listen == socket {
			network = "unix"
			if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("the socket: %v, %v", info.Mode(), err)
			}
		}
		c, err := net.Dial(network, addr)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 5)
		_, _ = io.WriteString(c, "hello")
		if _, err := io.ReadFull(c, b); err != nil || string(b) != "hello" {
			t.Errorf("%q, %v", b, err)
		}
		_ = c.Close()
		stop()
		if code := <-done; code != exitOK {
			t.Errorf("exit status %d", code)
		}
	}
}

func TestProxySaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	for name, tt := range map[string]struct {
		args  []string
		code  int
		tells string
	}{
		"no instance":          {[]string{"proxy"}, exitUsage, "want one instance"},
		"unknown instance":     {[]string{"proxy", "my-project:europe-west1:other"}, exitFailed, "gcloud sql instances list"},
		"not loopback":         {[]string{"proxy", "-listen", "0.0.0.0:0", instance}, exitFailed, "-allow-remote"},
		"a name":               {[]string{"proxy", "-listen", "db.example.com:5432", instance}, exitFailed, "-allow-remote"},
		"no port":              {[]string{"proxy", "-listen", "127.0.0.1", instance}, exitFailed, "host:port"},
		"a folder that is not": {[]string{"proxy", "-listen", "/nowhere/db.sock", instance}, exitFailed, "/nowhere/db.sock"},
		"no connections":       {[]string{"proxy", "-listen", "127.0.0.1:0", "-max-connections", "-1", instance}, exitFailed, "-max-connections"},
	} {
		t.Run(name, func(t *testing.T) {
			code, _, stderr := cli(t, s, tt.args...)
			if code != tt.code || !strings.Contains(stderr, tt.tells) {
				t.Errorf("exit status %d, %q", code, stderr)
			}
		})
	}
}

func TestTheDefaultPortIsTheEngines(t *testing.T) {
	t.Parallel()
	for engine, want := range map[string]string{"POSTGRES_17": "5432", "MYSQL_8_4": "3306", "SQLSERVER_2022_WEB": "1433", "": "5432"} {
		if got := enginePort(engine); got != want {
			t.Errorf("%q: %s, want %s", engine, got, want)
		}
	}
}
