package interop

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn/internal/dbserver"
	"github.com/cloudsqlconn/cloudsqlconn/interop/internal/clients"
)

// TestMain ends the clients and the database servers after the tests.
func TestMain(m *testing.M) {
	flag.Parse()
	clients.ServeGoSQLData()
	// The tests wait for the rate limits of the clients, not for a processor.
	if err := flag.Set("test.parallel", "40"); err != nil {
		panic(err)
	}
	code := m.Run()
	if err := clients.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
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
