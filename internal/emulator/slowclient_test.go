package emulator

import (
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/test/memnet"
)

// Who begins a request to the control endpoint, and never sends the rest of it, holds
// a connection for a minute, and not for ever.
func TestHalfARequestHoldsNoConnectionOfTheControlEndpoint(t *testing.T) {
	for name, beginning := range map[string]string{
		"nothing":       "",
		"half a header": "POST /instances HTTP/1.1\r\nHost: x\r\nContent-Le",
		"half a body":   "POST /instances HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := memnet.Listen("control")
				s := newControlServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.ReadAll(r.Body) }))
				served := make(chan error, 1)
				go func() { served <- s.Serve(l) }()
				c, err := l.DialContext(t.Context(), "tcp", "control")
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if _, err := io.WriteString(c, beginning); err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				if answer, _ := io.ReadAll(c); time.Since(start) > 2*time.Minute {
					t.Errorf("it ends after %v, with %q", time.Since(start), answer)
				}
				_ = s.Close()
				<-served
			})
		})
	}
}
