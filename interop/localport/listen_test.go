package localport

import (
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

func TestPortsAndAddressesOfSeveralInstances(t *testing.T) {
	inBoth(t,
		[]string{postgres + "?port=P1", mysql + "?address=127.0.0.9&port=P2"},
		[]string{postgres + "?port=P1", mysql + "?listen=127.0.0.9:P2"},
		func(t *testing.T, p program, flags []string) {
			p1, p2 := freePort(t), freePort(t)
			r := p.start(t, newKit(t), nil, fill(flags, "P1", p1, "P2", p2)...)
			r.wait(p.ready, map[string]int{theirs.name: 1, ours.name: 2}[p.name])
			wantEcho(t, "127.0.0.1:"+p1)
			wantEcho(t, "127.0.0.9:"+p2)
		})
}

// The folder's names are the Auth Proxy's; ours are told.
func TestSocketsInAFolder(t *testing.T) {
	inBoth(t,
		[]string{"--unix-socket", "DIR", postgres, mysql},
		[]string{postgres + "?listen=DIR/" + postgres + "/", mysql + "?listen=DIR/" + mysql},
		func(t *testing.T, p program, flags []string) {
			dir := folder(t)
			r := p.start(t, newKit(t), nil, fill(flags, "DIR", dir)...)
			r.wait(p.ready, map[string]int{theirs.name: 1, ours.name: 2}[p.name])
			wantEcho(t, filepath.Join(dir, postgres, ".s.PGSQL.5432"))
			wantEcho(t, filepath.Join(dir, mysql))
		})
}

func TestTheSocketOfOneInstance(t *testing.T) {
	inBoth(t,
		[]string{postgres + "?unix-socket-path=DIR/.s.PGSQL.5432"},
		[]string{postgres + "?listen=DIR"},
		func(t *testing.T, p program, flags []string) {
			dir := folder(t)
			r := p.start(t, newKit(t), nil, fill(flags, "DIR", dir)...)
			r.wait(p.ready, 1)
			path := filepath.Join(dir, ".s.PGSQL.5432")
			wantEcho(t, path)
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if want := map[string]os.FileMode{theirs.name: 0o777, ours.name: 0o600}[p.name]; info.Mode().Perm() != want {
				t.Errorf("mode %v, want %v", info.Mode().Perm(), want)
			}
		})
}

// Both let others in, ours if it is told so.
func TestTheModeOfASocket(t *testing.T) {
	inBoth(t,
		[]string{mysql + "?unix-socket-path=DIR/db.sock"},
		[]string{"-socket-mode", "0660", "-socket-group", "GID", mysql + "?listen=DIR/db.sock"},
		func(t *testing.T, p program, flags []string) {
			dir := folder(t)
			r := p.start(t, newKit(t), nil, fill(flags, "DIR", dir, "GID", strconv.Itoa(os.Getgid()))...)
			r.wait(p.ready, 1)
			info, err := os.Stat(filepath.Join(dir, "db.sock"))
			if err != nil || info.Mode().Perm()&0o060 != 0o060 {
				t.Errorf("%v, %v", info, err)
			}
		})
}

// The Auth Proxy counts up from the port of its flag; ours wants a port for each.
func TestOnePortForSeveralInstances(t *testing.T) {
	inBoth(t,
		[]string{"--port", "P1", postgres, mysql},
		[]string{"-listen", "127.0.0.1:P1", postgres, mysql},
		func(t *testing.T, p program, flags []string) {
			first, next := adjacentPorts(t)
			r := p.start(t, newKit(t), nil, fill(flags, "P1", first)...)
			if p.name == ours.name {
				if r.wait(mysql+"?listen=", 1); r.end() != 2 {
					t.Errorf("exit status %d", r.end())
				}
				return
			}
			r.wait(p.ready, 1)
			wantEcho(t, "127.0.0.1:"+first)
			wantEcho(t, "127.0.0.1:"+next)
		})
}

// adjacentPorts returns two that are free, one after the other.
func adjacentPorts(t *testing.T) (first, next string) {
	t.Helper()
	next = freePort(t)
	for {
		first, next = next, freePort(t)
		if n, _ := strconv.Atoi(first); strconv.Itoa(n+1) == next {
			return first, next
		}
	}
}

// Ours replaces the socket that a killed program has left; the Auth Proxy does not
// start.
func TestASocketThatIsLeft(t *testing.T) {
	inBoth(t,
		[]string{mysql + "?unix-socket-path=DIR/db.sock"},
		[]string{mysql + "?listen=DIR/db.sock"},
		func(t *testing.T, p program, flags []string) {
			dir, kit := folder(t), newKit(t)
			flags = fill(flags, "DIR", dir)
			r := p.start(t, kit, nil, flags...)
			r.wait(p.ready, 1)
			r.signal(syscall.SIGKILL)
			r.end()
			r = p.start(t, kit, nil, flags...)
			if p.name == theirs.name {
				if r.wait("address already in use", 1); r.end() == 0 {
					t.Error("exit status 0")
				}
				return
			}
			r.wait(p.ready, 1)
			wantEcho(t, filepath.Join(dir, "db.sock"))
		})
}

// An instance that is missing ends the Auth Proxy; ours serves the others.
func TestAnInstanceThatIsMissing(t *testing.T) {
	flags := []string{postgres + "?port=P1", "my-project:europe-west1:missing"}
	inBoth(t, flags, flags, func(t *testing.T, p program, flags []string) {
		port := freePort(t)
		r := p.start(t, newKit(t), nil, fill(flags, "P1", port)...)
		if p.name == theirs.name {
			if r.end() == 0 {
				t.Error("exit status 0")
			}
			return
		}
		r.wait("instanceDoesNotExist", 1)
		r.wait(p.ready, 1)
		_ = wantEcho(t, "127.0.0.1:"+port).Close()
		r.signal(syscall.SIGTERM)
		if r.end() == 0 {
			t.Error("exit status 0")
		}
	})
}

// Who is refused by ours is told why. The Auth Proxy is not ready while it is full.
func TestAtMostSoManyConnections(t *testing.T) {
	inBoth(t,
		[]string{"--max-connections", "1", "--health-check", "--http-port", "P2", postgres + "?port=P1"},
		[]string{"-max-connections", "1", "-health", "127.0.0.1:P2", postgres + "?port=P1"},
		func(t *testing.T, p program, flags []string) {
			port, health := freePort(t), freePort(t)
			r := p.start(t, newKit(t), nil, fill(flags, "P1", port, "P2", health)...)
			r.wait(p.ready, 1)
			first := wantEcho(t, "127.0.0.1:"+port)
			answer := startup(connect(t, "127.0.0.1:"+port))
			if told := strings.Contains(answer, "limit of 1 connection reached"); told != (p.name == ours.name) {
				t.Errorf("it is told %q", answer)
			}
			status, body := ask(t, http.MethodGet, "http://localhost:"+health+"/readiness")
			if want := map[string]int{theirs.name: http.StatusServiceUnavailable, ours.name: http.StatusOK}[p.name]; status != want {
				t.Errorf("/readiness: %d, %q", status, body)
			}
			if !echoes(first) {
				t.Error("the first connection has ended")
			}
		})
}

// startup says what a PostgreSQL client says first, and returns all that comes.
func startup(c net.Conn) string {
	const params = "user\x00app\x00\x00"
	_, _ = io.WriteString(c, "\x00\x00\x00"+string(rune(8+len(params)))+"\x00\x03\x00\x00"+params)
	b, _ := io.ReadAll(c)
	return string(b)
}

// The Auth Proxy hangs up; ours says why, as a server does.
func TestAClientThatCannotBeConnected(t *testing.T) {
	flags := []string{postgres + "?port=P1"}
	inBoth(t, flags, flags, func(t *testing.T, p program, flags []string) {
		kit, port := cloudsqltest.NewServer(), freePort(t)
		t.Cleanup(kit.Close)
		in := kit.AddInstance(postgres, cloudsqltest.Instance{Handler: cloudsqltest.Echo, ListenOn3307: true})
		r := p.start(t, kit, nil, fill(flags, "P1", port)...)
		r.wait(p.ready, 1)
		kit.DeleteInstance(in)
		answer := startup(connect(t, "127.0.0.1:"+port))
		if told := strings.HasPrefix(answer, "E"); told != (p.name == ours.name) {
			t.Errorf("it is told %q", answer)
		}
	})
}

func TestAddressTypes(t *testing.T) {
	for name, row := range map[string]struct {
		theirs, ours []string
		addrs        cloudsqlconn.IPType
	}{
		"private":          {[]string{"--private-ip", postgres + "?port=P1"}, []string{"-ip-types", "PRIVATE", postgres + "?port=P1"}, cloudsqlconn.PrivateIP},
		"private, for one": {[]string{postgres + "?port=P1&private-ip=true"}, []string{postgres + "?port=P1&ip-types=PRIVATE"}, cloudsqlconn.PrivateIP},
		"psc":              {[]string{"--psc", postgres + "?port=P1"}, []string{"-ip-types", "PSC", postgres + "?port=P1"}, cloudsqlconn.PSC},
		"auto":             {[]string{"--auto-ip", postgres + "?port=P1"}, []string{postgres + "?port=P1"}, cloudsqlconn.PrivateIP},
	} {
		t.Run(name, func(t *testing.T) {
			inBoth(t, row.theirs, row.ours, func(t *testing.T, p program, flags []string) {
				kit, port := cloudsqltest.NewServer(), freePort(t)
				t.Cleanup(kit.Close)
				in := kit.AddInstance(postgres, cloudsqltest.Instance{Handler: cloudsqltest.Echo, ListenOn3307: true})
				in.SetAddrs(map[cloudsqlconn.IPType]string{row.addrs: in.Addrs()[cloudsqlconn.PrivateIP]})
				r := p.start(t, kit, nil, fill(flags, "P1", port)...)
				r.wait(p.ready, 1)
				wantEcho(t, "127.0.0.1:"+port)
			})
		})
	}
}
