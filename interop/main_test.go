package interop

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn/internal/dbserver"
)

// TestMain stops the helpers and the database servers after the tests.
func TestMain(m *testing.M) {
	flag.Parse()
	if config := os.Getenv(goClientConfig); config != "" {
		os.Exit(goClient(config))
	}
	// The tests wait for the rate limits of the clients, not for a processor.
	if err := flag.Set("test.parallel", "40"); err != nil {
		panic(err)
	}
	code := m.Run()
	for _, h := range append(pythonHelpers, java) {
		if err := h.close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	for _, e := range engines {
		if err := e.close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// wantNil ends the test at an error.
func wantNil(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantInstalled ends the test at an error. A missing program is a reason to
// skip it, but not in CI.
func wantInstalled(t *testing.T, err error) {
	t.Helper()
	missing := errors.Is(err, dbserver.ErrNotInstalled) || errors.Is(err, errors.ErrUnsupported) || errors.Is(err, exec.ErrNotFound)
	if missing && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	wantNil(t, err)
}

// lookPath returns an error that says how to get a program that is missing.
func lookPath(program, packages string) error {
	if _, err := exec.LookPath(program); err != nil {
		return fmt.Errorf("%w: apt-get install %s", err, packages)
	}
	return nil
}

// cached returns a folder that outlives the tests. If there is none of that
// name yet, fill makes what belongs into it.
func cached(name string, fill func(dir string) error) (string, error) {
	parent, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	parent = filepath.Join(parent, "cloudsqlconn-interop")
	dir := filepath.Join(parent, name)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", err
	}
	unfinished, err := os.MkdirTemp(parent, "unfinished-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(unfinished)
	if err := fill(unfinished); err != nil {
		return "", err
	}
	// Another process may have been quicker; what it made is as good.
	if err := os.Rename(unfinished, dir); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	return dir, nil
}

// run runs a program in dir to its end; what it printed is in the error.
func run(dir string, env []string, program string, args ...string) error {
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", program, err, out)
	}
	return nil
}
