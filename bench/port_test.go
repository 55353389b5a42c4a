package bench

import (
	"io"
	"testing"
	"time"
)

// The Auth Proxy would have to be fetched.
func TestPortsInProcessesOfTheirOwn(t *testing.T) {
	t.Parallel()
	k, err := startKit()
	wantNil(t, err)
	defer k.close()
	target, err := k.add(InstanceSpec{Names: []string{"my-project:europe-west1:my-db"}})
	wantNil(t, err)
	dir, key := t.TempDir(), newTestKey(t)
	wantNil(t, buildCommand(t.Context(), dir))
	wantNil(t, withPorts(t.Context(), []string{oursName, floorName}, dir, target, key, func(ports []*port) error {
		for _, p := range ports {
			c, err := p.Dial(t.Context())
			wantNil(t, err)
			defer c.Close()
			wantNil(t, greet(c))
			for name, transfer := range map[string]func(io.ReadWriter, []byte, int) error{"up": upload, "down": download} {
				spent, err := p.spent(8, func() error { return transfer(c, make([]byte, 64<<10), 8*mib) })
				wantNil(t, err)
				if spent.wall <= 0 || spent.cpu <= 0 {
					t.Errorf("%s, %s: %+v", p.name, name, spent)
				}
			}
			message := make([]byte, 100)
			_, err = c.Write(command(cmdEcho, 0, len(message)))
			wantNil(t, err)
			if took, err := pings(c, message, 10); len(took) != 10 || err != nil {
				t.Errorf("%s: %v, %v", p.name, took, err)
			}
			resident, cpu, err := p.idle(t.Context(), 300, time.Second)
			wantNil(t, err)
			if resident < 1000 || cpu < 0 {
				t.Errorf("%s: %.0f bytes, %.3f of a core", p.name, resident, cpu)
			}
		}
		return nil
	}))
	for _, name := range []string{oursName, floorName} {
		const n = 200
		m, err := portMemoryOf(t.Context(), name, target, key, n)
		wantNil(t, err)
		// Less than half of what is known of both.
		if m.Stacks < 2000*n || m.TLS < 3000*n || m.Own < 500*n {
			t.Errorf("%s: %+v", name, m)
		}
	}
}
