package main

import (
	"io"
	"net"
	"strings"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// Without the Admin API, an address or port 3307 the instance is reached all the
// same.
func TestSQLData(t *testing.T) {
	t.Parallel()
	s := cloudsqltest.NewServer()
	defer s.Close()
	s.ServeSQLData(cloudsqltest.SQLDataConfig{})
	s.AddInstance(instance, cloudsqltest.Instance{SQLData: true, Handler: postgres})
	const other = "my-project:europe-west1:other"
	s.AddInstance(other, cloudsqltest.Instance{Handler: postgres})

	code, stdout, stderr := cli(t, s, "check", "-sql-data", "only", instance)
	if code != exitOK || stderr != "" || !strings.Contains(stdout, "\nSQL Data ") || !strings.Contains(stdout, "PostgreSQL answers") || len(s.Requests()) != 0 {
		t.Errorf("exit status %d, %q, %d calls\n%s", code, stderr, len(s.Requests()), stdout)
	}
	code, stdout, _ = cli(t, s, "check", "-sql-data", "only", other)
	if code != exitFailed || !strings.Contains(stdout, "-sql-data prefer") || strings.Contains(stdout, "SQLDataPrefer") {
		t.Errorf("exit status %d\n%s", code, stdout)
	}
	code, stdout, _ = cli(t, s, "check", "-sql-data", "PREFER", other)
	if code != exitOK || !strings.Contains(stdout, "\nTLS ") {
		t.Errorf("exit status %d\n%s", code, stdout)
	}
	for _, args := range [][]string{{"-sql-data", "always"}, {"-sql-data-endpoint", "https://host/path"}} {
		code, _, stderr = cli(t, s, append(append([]string{"check"}, args...), instance)...)
		if code != exitUsage || !strings.Contains(stderr, args[0]) {
			t.Errorf("%v: exit status %d, %q", args, code, stderr)
		}
	}
	code, _, stderr = cli(t, s, "proxy", "-sql-data", "only", "-listen", "127.0.0.1:0", other)
	if code != exitFailed || !strings.Contains(stderr, "-sql-data prefer") {
		t.Errorf("exit status %d, %q", code, stderr)
	}
}

func TestProxyThroughSQLData(t *testing.T) {
	t.Parallel()
	s := cloudsqltest.NewServer()
	defer s.Close()
	s.ServeSQLData(cloudsqltest.SQLDataConfig{})
	s.AddInstance(instance, cloudsqltest.Instance{SQLData: true}) // echoes
	p := startProxy(t, s, "-sql-data", "only", "-listen", "127.0.0.1:0", instance)
	c, err := net.Dial("tcp", p.listening())
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(c, "hello")
	_ = c.(*net.TCPConn).CloseWrite()
	if got, err := io.ReadAll(c); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	_ = c.Close()
	p.wantEnd(exitOK)
	if n := len(s.Requests()); n != 0 {
		t.Errorf("%d calls", n)
	}
}
