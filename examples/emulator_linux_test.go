package examples

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/dbtest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/emulator"
)

const instance = "my-project:europe-west1:my-db"

// startEmulator runs cloudsql-emulator with a private server, and returns the
// environment that it tells programs to have.
func startEmulator(t *testing.T, engine string, needs dbtest.Engine) (env []string) {
	t.Helper()
	dbtest.New(t, needs) // skips the test where there is none, unless CI=true
	ctx, cancel := context.WithCancel(t.Context())
	stdout, out := io.Pipe()
	var stderr bytes.Buffer
	var wg sync.WaitGroup
	wg.Go(func() {
		defer out.Close()
		args := []string{"-listen", "127.0.0.1:0", "-control", "127.0.0.1:0", "-engine", engine, "-instance", instance}
		if code := emulator.Run(ctx, args, out, &stderr, nil); code != 0 {
			t.Errorf("the emulator's exit code is %d: %s", code, &stderr)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	said := new(strings.Builder)
	buf := make([]byte, 64<<10)
	for {
		n, err := stdout.Read(buf)
		said.Write(buf[:n])
		if line := regexp.MustCompile(`(?m)^export (CLOUDSQLCONN_EMULATOR_HOST.*)\n`).FindStringSubmatch(said.String()); line != nil {
			go func() { _, _ = io.Copy(io.Discard, stdout) }() // ends with the emulator
			return strings.Fields(line[1])
		}
		if err != nil {
			t.Fatalf("the emulator prints no line to paste: %v\n%s", err, said)
		}
	}
}

// Every program that needs an instance runs on the emulator as it is: only the
// environment says where that is.
func TestProgramsRunOnTheEmulator(t *testing.T) {
	t.Parallel()
	postgres := "host=" + instance + " user=app password=app dbname=app"
	mysql := "app:app@cloudsql-mysql(" + instance + ")/app?parseTime=true"
	postgresEnv := startEmulator(t, "postgres", dbtest.PostgreSQL)
	mysqlEnv := startEmulator(t, "mysql", dbtest.MariaDB)
	gormEnv := startEmulator(t, "mysql", dbtest.MariaDB) // its table books is another one
	for _, tt := range []struct {
		name, what string
		env, args  []string
		want       string // in the output
	}{
		{"mysql", "MySQL", mysqlEnv, []string{"-dsn", mysql, "Book One"}, "Book One"},
		{"gorm", "PostgreSQL", postgresEnv, []string{"-dsn", "postgres://app:app@/app?host=" + instance, "Book Two"}, "Book Two"},
		{"gorm", "MySQL", gormEnv, []string{"-dsn", mysql, "Book Three"}, "Book Three"},
		{"bun", "PostgreSQL", postgresEnv, []string{"-dsn", postgres, "Book Four"}, "Book Four"},
		{"iam", "PostgreSQL", postgresEnv, []string{"-dsn", "host=" + instance + " dbname=app"}, "app@my-project.iam"},
		{"otel", "PostgreSQL", postgresEnv, []string{"-instance", instance}, "cloudsqlconn"},
	} {
		t.Run(tt.name+"/"+tt.what, func(t *testing.T) {
			t.Parallel()
			cmd := command(t, tt.name, tt.args...)
			cmd.Env = append(cmd.Env, tt.env...)
			start := time.Now()
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), tt.want) {
				t.Errorf("%v\n%s", err, out)
			}
			t.Logf("took %s", time.Since(start).Round(10*time.Millisecond))
		})
	}
	t.Run("pgxpool", func(t *testing.T) {
		t.Parallel()
		addr := freeAddr(t)
		cmd := command(t, "pgxpool", "-dsn", postgres, "-addr", addr)
		cmd.Env = append(cmd.Env, postgresEnv...)
		wantServed(t, cmd, "http://"+addr+"/healthz", "ok")
	})
	t.Run("cloudrun", func(t *testing.T) {
		t.Parallel()
		addr := freeAddr(t)
		_, port, _ := net.SplitHostPort(addr)
		cmd := command(t, "cloudrun")
		cmd.Env = append(append(cmd.Env, "PORT="+port, "DATABASE_DSN=host="+instance+" dbname=app cloudsql_iam_authn=true"), postgresEnv...)
		wantServed(t, cmd, "http://"+addr+"/", "1")
	})
}

// freeAddr is an address that nobody listens on.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	wantNil(t, err)
	defer l.Close()
	return l.Addr().String()
}

// wantServed starts a service, waits until it says what is wanted, and ends it.
func wantServed(t *testing.T, cmd *exec.Cmd, url, want string) {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	wantNil(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	retry := time.NewTicker(50 * time.Millisecond)
	defer retry.Stop()
	for {
		if resp, err := http.Get(url); err == nil {
			body, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK && strings.Contains(string(body), want) {
				break
			}
		}
		select {
		case err := <-ended:
			t.Fatalf("it has ended: %v\n%s", err, &out)
		case <-retry.C:
		}
	}
	wantNil(t, cmd.Process.Signal(syscall.SIGTERM))
	if err := <-ended; err != nil {
		t.Errorf("at SIGTERM: %v\n%s", err, &out)
	}
}
