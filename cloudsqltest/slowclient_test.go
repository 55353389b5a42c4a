package cloudsqltest_test

import (
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// Who begins a request, or its body, and never sends the rest holds a connection for
// a minute or so, and not for ever.
func TestAClientThatIsSlowToAskIsLeft(t *testing.T) {
	for name, beginning := range map[string]string{
		"nothing":       "",
		"half a header": "POST /x HTTP/1.1\r\nHost: x\r\nContent-Le",
		"half a body":   "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := cloudsqltest.NewMemoryServer()
				defer s.Close()
				c, err := s.Client().Transport.(*http.Transport).DialContext(t.Context(), "tcp", "")
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
			})
		})
	}
}

// An answer may take longer than a request, and a connection may be idle for longer.
func TestNoAnswerIsTooSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := cloudsqltest.NewMemoryServer()
		defer s.Close()
		s.OnRequest = func(*http.Request) *cloudsqltest.Fault { return &cloudsqltest.Fault{Delay: time.Hour} }
		for range 2 {
			resp, err := s.Client().Get(s.URL())
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			time.Sleep(time.Hour)
		}
		s.Client().CloseIdleConnections()
	})
}
