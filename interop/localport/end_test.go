package localport

import (
	"net"
	"net/http"
	"syscall"
	"testing"
)

func TestTheExitStatus(t *testing.T) {
	for name, row := range map[string]struct {
		theirs, ours     []string
		theirEnd, ourEnd int
	}{
		"by default": {nil, nil, 143, 0},
		"zero":       {[]string{"--exit-zero-on-sigterm"}, nil, 0, 0},
		"143":        {nil, []string{"-exit-status", "143"}, 143, 143},
	} {
		t.Run(name, func(t *testing.T) {
			inBoth(t, append(row.theirs, postgres+"?port=P1"), append(row.ours, postgres+"?port=P1"), func(t *testing.T, p program, flags []string) {
				r := p.start(t, newKit(t), nil, fill(flags, "P1", freePort(t))...)
				r.wait(p.ready, 1)
				r.signal(syscall.SIGTERM)
				if got, want := r.end(), map[string]int{theirs.name: row.theirEnd, ours.name: row.ourEnd}[p.name]; got != want {
					t.Errorf("exit status %d, want %d", got, want)
				}
			})
		})
	}
}

// signalled returns a program with a connection, which has been sent a signal then.
func signalled(t *testing.T, p program, flags []string) (*running, net.Conn) {
	t.Helper()
	port := freePort(t)
	r := p.start(t, newKit(t), nil, fill(flags, "P1", port)...)
	r.wait(p.ready, 1)
	c := wantEcho(t, "127.0.0.1:"+port)
	r.signal(syscall.SIGTERM)
	return r, c
}

// Without a flag, the Auth Proxy cuts connections at once; ours waits for them.
func TestConnectionsAfterASignalWithoutAFlag(t *testing.T) {
	flags := []string{postgres + "?port=P1"}
	inBoth(t, flags, flags, func(t *testing.T, p program, flags []string) {
		r, c := signalled(t, p, flags)
		if p.name == theirs.name {
			r.end()
		} else {
			r.wait("at_most=30s", 1)
		}
		if open := echoes(c); open != (p.name == ours.name) {
			t.Errorf("the connection is open: %v", open)
		}
	})
}

func TestConnectionsMayEndAfterASignal(t *testing.T) {
	inBoth(t, []string{"--max-sigterm-delay", "1h", postgres + "?port=P1"}, []string{"-drain", "1h", postgres + "?port=P1"},
		func(t *testing.T, p program, flags []string) {
			r, c := signalled(t, p, flags)
			r.wait(map[string]string{theirs.name: "Shutting down", ours.name: "waiting for connections to end"}[p.name], 1)
			if !echoes(c) || r.hasEnded() {
				t.Error("the connection is cut")
			}
			_ = c.Close()
			r.end()
		})
}

// A second signal ends ours at once; the Auth Proxy passes it over.
func TestASecondSignal(t *testing.T) {
	inBoth(t, []string{"--max-sigterm-delay", "3s", postgres + "?port=P1"}, []string{"-drain", "1h", postgres + "?port=P1"},
		func(t *testing.T, p program, flags []string) {
			r, c := signalled(t, p, flags)
			r.wait(map[string]string{theirs.name: "Shutting down", ours.name: "waiting for connections to end"}[p.name], 1)
			r.signal(syscall.SIGTERM)
			if p.name == theirs.name {
				if !echoes(c) {
					t.Error("the connection is cut")
				}
				return
			}
			if got := r.end(); got != 143 {
				t.Errorf("exit status %d", got)
			}
		})
}

func TestClientsAreAcceptedAfterASignal(t *testing.T) {
	inBoth(t, []string{"--min-sigterm-delay", "1h", postgres + "?port=P1"}, []string{"-accept-for", "1h", postgres + "?port=P1"},
		func(t *testing.T, p program, flags []string) {
			port := freePort(t)
			r := p.start(t, newKit(t), nil, fill(flags, "P1", port)...)
			r.wait(p.ready, 1)
			r.signal(syscall.SIGTERM)
			r.wait(map[string]string{theirs.name: "Shutting down", ours.name: "stopping"}[p.name], 1)
			wantEcho(t, "127.0.0.1:"+port)
		})
}

// Ours wants a POST, which no link makes, and an address that is -health's.
func TestQuitquitquit(t *testing.T) {
	inBoth(t, []string{"--quitquitquit", "--admin-port", "P2", postgres + "?port=P1"}, []string{"-quitquitquit", "-health", "127.0.0.1:P2", postgres + "?port=P1"},
		func(t *testing.T, p program, flags []string) {
			port := freePort(t)
			r := p.start(t, newKit(t), nil, fill(flags, "P1", freePort(t), "P2", port)...)
			r.wait(p.ready, 1)
			for !listens(port) { // the Auth Proxy is ready before
			}
			url := "http://localhost:" + port + "/quitquitquit"
			if p.name == ours.name {
				if status, body := ask(t, http.MethodGet, url); status != http.StatusMethodNotAllowed {
					t.Errorf("GET: %d, %q", status, body)
				}
			}
			if status, body := ask(t, http.MethodPost, url); status != http.StatusOK {
				t.Errorf("%d, %q", status, body)
			}
			if got := r.end(); got != 0 {
				t.Errorf("exit status %d", got)
			}
		})
}
