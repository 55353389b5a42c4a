// Package examples tests the programs below it as a reader would use them.
package examples

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// folders are those of this module that the index is about.
func folders(t *testing.T) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(".")
	wantNil(t, err)
	for _, e := range entries {
		if e.IsDir() && e.Name() != "internal" {
			names = append(names, e.Name())
		}
	}
	if len(names) < 10 {
		t.Fatalf("found the folders %v only", names)
	}
	return names
}

// isProgram reports whether a folder has a main function.
func isProgram(name string) bool {
	_, err := os.Stat(filepath.Join(name, "main.go"))
	return err == nil
}

func wantNil(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// programs builds all programs, once for all tests.
var programs = sync.OnceValues(func() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "examples-"); err != nil {
		return "", err
	}
	out, err := exec.Command("go", "build", "-o", dir+string(filepath.Separator), "./...").CombinedOutput()
	if err != nil {
		return dir, errors.New(string(out))
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, _ := programs(); dir != "" {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

// command is a program of that name with arguments, and an environment without
// a data source name.
func command(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	dir, err := programs()
	wantNil(t, err)
	cmd := exec.CommandContext(t.Context(), filepath.Join(dir, name), args...)
	for _, pair := range os.Environ() {
		if !strings.HasPrefix(pair, "DATABASE_DSN=") {
			cmd.Env = append(cmd.Env, pair)
		}
	}
	return cmd
}

func TestIndexIsComplete(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("README.md")
	wantNil(t, err)
	rows := regexp.MustCompile(`(?m)^\| \[(\w+)\]\((\w+)\) \| ([^|]+) \| ([^|]+) \|$`).FindAllStringSubmatch(string(text), -1)
	listed := map[string]bool{}
	for _, row := range rows {
		if row[1] != row[2] {
			t.Errorf("%s links to %s", row[1], row[2])
		}
		listed[row[1]] = true
		if _, err := os.Stat(row[1]); err != nil {
			t.Errorf("README.md lists %s: %v", row[1], err)
		}
	}
	for _, name := range folders(t) {
		if !listed[name] {
			t.Errorf("README.md does not list %s", name)
		}
	}
}

func TestProgramsSayThatTheyNeedADataSourceName(t *testing.T) {
	t.Parallel()
	for _, name := range folders(t) {
		if !isProgram(name) || name == "otel" { // which emulates an instance
			continue
		}
		cmd := command(t, name)
		out, err := cmd.CombinedOutput()
		if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 2 || !strings.Contains(strings.ToLower(string(out)), "data source name") {
			t.Errorf("%s without arguments: %v\n%s", name, err, out)
		}
	}
}
