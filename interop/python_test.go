package interop

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// python returns the name of an interpreter that has the packages of
// python/requirements.txt.
var python = sync.OnceValues(func() (string, error) {
	if err := lookPath("python3", "python3-venv"); err != nil {
		return "", err
	}
	// Debian has the module in a package of its own.
	if err := exec.Command("python3", "-c", "import ensurepip").Run(); err != nil {
		return "", fmt.Errorf("python3 has no ensurepip: apt-get install python3-venv: %w", exec.ErrNotFound)
	}
	requirements, err := filepath.Abs("python/requirements.txt")
	if err != nil {
		return "", err
	}
	list, err := os.ReadFile(requirements)
	if err != nil {
		return "", err
	}
	version, err := exec.Command("python3", "-c", "import sys; print(sys.version, sys.base_prefix)").Output()
	if err != nil {
		return "", err
	}
	dir, err := cached(fmt.Sprintf("python-%x", sha256.Sum256(append(list, version...)))[:23], func(dir string) error {
		interpreter := filepath.Join(dir, "bin", "python")
		return errors.Join(
			run(dir, nil, "python3", "-m", "venv", dir),
			run(dir, nil, interpreter, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--requirement", requirements),
			run(dir, nil, interpreter, "-m", "pip", "check"),
		)
	})
	return filepath.Join(dir, "bin", "python"), err
})

// Each driver has a process, since Python runs one thread at a time.
var (
	pg8000        = newPython()
	psycopg       = newPython()
	asyncpg       = newPython()
	pymysql       = newPython()
	pytds         = newPython()
	pythonHelpers = []*helper{pg8000, psycopg, asyncpg, pymysql, pytds}
)

func newPython() *helper {
	return &helper{command: func() (*exec.Cmd, error) {
		interpreter, err := python()
		if err != nil {
			return nil, err
		}
		return exec.Command(interpreter, "python/client.py"), nil
	}}
}
