// Package testmain is what the TestMain functions of this module share. It knows
// nothing of what is tested.
package testmain

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/pprof"
	"testing"
	"time"
)

// patience is how long goroutines may take on their way out.
const patience = 5 * time.Second

// Run runs the tests and returns their exit code. HTTP connections that would
// leave the machine are refused, and goroutines that the tests leave behind
// are a failure.
func Run(m *testing.M) int {
	transport := http.DefaultTransport.(*http.Transport)
	dial := transport.DialContext
	transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if host, _, err := net.SplitHostPort(addr); err != nil || !net.ParseIP(host).IsLoopback() {
			return nil, fmt.Errorf("a test dials %s, off loopback", addr)
		}
		return dial(ctx, network, addr)
	}
	before := runtime.NumGoroutine()
	code := m.Run()
	if flag.Lookup("test.fuzz").Value.String() != "" {
		return code // the fuzzing engine keeps goroutines
	}
	transport.CloseIdleConnections()
	for deadline := time.Now().Add(patience); runtime.NumGoroutine() > before && time.Now().Before(deadline); {
		runtime.Gosched()
	}
	if runtime.NumGoroutine() > before {
		fmt.Fprintln(os.Stderr, "goroutines left after the tests:")
		_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
		return 1
	}
	return code
}
