// Package e2e tests the library end to end: the drivers of this module, a
// Dialer, an emulated Cloud SQL on real sockets (cloudsqltest), and behind it
// real PostgreSQL 15 and 18, MariaDB and MySQL 9.7, started for the tests from the
// binaries on the machine. For SQL Server, which cannot be started like that, there is
// cloudsqltest/tds, with a real Kerberos realm.
//
// Without these binaries the tests are skipped, with CI=true they fail. Tests
// against a real Cloud SQL instance are in cloudsql_test.go.
package e2e

import (
	"fmt"
	"net/http"
	"os"
	"runtime"
	"testing"
	"time"
)

// TestMain stops the servers after the tests, and fails if a goroutine is left
// then.
func TestMain(m *testing.M) {
	before := runtime.NumGoroutine()
	code := m.Run()
	for _, e := range engines {
		if err := e.closeShared(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	http.DefaultClient.CloseIdleConnections() // credentials of real instances
	deadline := time.Now().Add(20 * time.Second)
	for runtime.NumGoroutine() > before && code == 0 {
		runtime.Gosched()
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			fmt.Fprintf(os.Stderr, "goroutines left after the tests:\n%s", stacks[:runtime.Stack(stacks, true)])
			code = 1
		}
	}
	os.Exit(code)
}
