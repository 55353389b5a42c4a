package cloudsqltest_test

import (
	"strings"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// The kit knew stopped instances only as a 400 that belongs to other calls; the
// Admin API answers connectors with 409, invalidState.
func TestAnInstanceThatIsNotRunnableAnswers409AndRefusesConnections(t *testing.T) {
	for _, state := range cloudsqltest.States() {
		if state == cloudsqltest.Runnable {
			continue
		}
		t.Run(string(state), func(t *testing.T) {
			inMemory(t, cloudsqltest.Instance{Nodes: make([]cloudsqltest.Node, 1)}, func(t *testing.T, c *client) {
				c.p.SetState(state)
				want := "409 The instance or operation is not in an appropriate state to handle the request."
				if state == cloudsqltest.Suspended {
					want += " Instance state: SUSPENDED."
				}
				want += " invalidState"
				for method, path := range map[string]string{"GET": "/connectSettings", "POST": ":generateEphemeralCert"} {
					_, body, err := c.send(t.Context(), method, instancePath+path, "{}")
					wantNil(t, err)
					if got := envelope(body); got != want || strings.Contains(string(body), `"status"`) {
						t.Errorf("%s: got %s", path, body)
					}
				}
				c.p.Start()
				c.p.Nodes()[0].Start()
				if c.p.State() != state || c.p.Addr() != nil {
					t.Errorf("after Start: %s, listens at %v", c.p.State(), c.p.Addr())
				}
				for _, addr := range []string{addrOf(c.p.Addrs()), addrOf(c.p.Nodes()[0].Addrs())} {
					if conn, err := c.s.DialContext(t.Context(), "tcp", addr); err == nil {
						conn.Close()
						t.Errorf("%s accepts connections", addr)
					}
				}
				if n := c.p.Counts().Refused; n != 2 {
					t.Errorf("%d connections counted as refused, want 2", n)
				}
				c.p.SetState(cloudsqltest.Runnable)
				if c.p.Addr() == nil || c.settings().Region == "" {
					t.Error("not back after Runnable")
				}
			})
		})
	}
}

func addrOf(addrs map[cloudsqlconn.IPType]string) string {
	return addrs[cloudsqlconn.PublicIP] + ":3307"
}
