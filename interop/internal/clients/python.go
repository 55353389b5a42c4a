package clients

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

var (
	//go:embed python/client.py
	pythonProgram string
	//go:embed python/requirements.txt
	pythonRequirements []byte
)

// PythonInterpreter returns the name of an interpreter that has the packages of
// python/requirements.txt.
var PythonInterpreter = sync.OnceValues(func() (string, error) {
	if err := lookPath("python3", "python3-venv"); err != nil {
		return "", err
	}
	// Debian has the module in a package of its own.
	if err := exec.Command("python3", "-c", "import ensurepip").Run(); err != nil {
		return "", fmt.Errorf("python3 has no ensurepip: apt-get install python3-venv: %w", exec.ErrNotFound)
	}
	version, err := exec.Command("python3", "-c", "import sys; print(sys.version, sys.base_prefix)").Output()
	if err != nil {
		return "", err
	}
	dir, err := cached(versioned("python", pythonRequirements, version), func(dir string) error {
		interpreter := filepath.Join(dir, "bin", "python")
		requirements := filepath.Join(dir, "requirements.txt")
		return errors.Join(
			os.WriteFile(requirements, pythonRequirements, 0o644),
			run(dir, nil, "python3", "-m", "venv", dir),
			run(dir, nil, interpreter, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--requirement", requirements),
			run(dir, nil, interpreter, "-m", "pip", "check"),
		)
	})
	return filepath.Join(dir, "bin", "python"), err
})

func pythonCommand() (*exec.Cmd, error) {
	interpreter, err := PythonInterpreter()
	if err != nil {
		return nil, err
	}
	return exec.Command(interpreter, "-c", pythonProgram), nil
}

// Python returns how the client for Python is opened with one of its drivers:
// pg8000, psycopg, asyncpg, pymysql, pytds. With "sqlalchemy-" before, the driver
// is SQLAlchemy's.
func Python(driver string) Open {
	peer := shared[strings.TrimPrefix(driver, "sqlalchemy-")]
	return func(_ context.Context, target Target) (*Session, error) { return peer.open(driver, target) }
}

// PythonSQLData returns how the client for Python is opened with SQL Data, in a
// process of its own, with one of its drivers and a token: with the key of a
// service account it would sign tokens itself.
func PythonSQLData(driver, token string) Open {
	return func(_ context.Context, target Target) (*Session, error) {
		peer, err := StartPython(target.SQLDataCA)
		if err != nil {
			return nil, err
		}
		return peer.session(Request{Driver: driver, NoExpiry: token, Target: target}, true), nil
	}
}

// StartPython starts a program of Python alone, which trusts SQL Data with the
// CA in a file, if that is not empty.
func StartPython(sqlDataCA string) (*Peer, error) {
	cmd, err := pythonCommand()
	if err != nil {
		return nil, err
	}
	if sqlDataCA != "" {
		cmd.Env = append(os.Environ(), "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH="+sqlDataCA)
	}
	return startPeer(cmd)
}
