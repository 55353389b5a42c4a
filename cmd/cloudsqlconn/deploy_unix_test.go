//go:build unix

package main

import (
	"bufio"
	"flag"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// keys returns the lines KEY=VALUE of a file of the folder deploy.
func keys(t *testing.T, name string) map[string]string {
	t.Helper()
	f, err := os.Open(filepath.Join("deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m := map[string]string{}
	for s := bufio.NewScanner(f); s.Scan(); {
		if key, value, ok := strings.Cut(s.Text(), "="); ok && !strings.HasPrefix(key, "#") {
			m[key] = value
		}
	}
	return m
}

// What systemd would run, with its variables, in a folder of the test.
func TestTheSystemdUnit(t *testing.T) {
	unit, env := keys(t, "cloudsqlconn@.service"), keys(t, "cloudsqlconn.env")
	command := strings.Fields(unit["ExecStart"])
	if len(command) != 3 || command[1] != "proxy" || command[2] != "$INSTANCES" || unit["Type"] != "notify" {
		t.Fatalf("%q, %q", command, unit["Type"])
	}
	f := proxyFlags{}
	f.define(flag.NewFlagSet("proxy", flag.ContinueOnError))
	if stop, err := strconv.Atoi(unit["TimeoutStopSec"]); err != nil || time.Duration(stop)*time.Second <= f.drain {
		t.Errorf("it is killed after %d s, %v; connections have %v", stop, err, f.drain)
	}
	folder, err := os.MkdirTemp("", "unit-*") // that of a test has a name too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(folder)
	const inRun = "/run/cloudsqlconn/my-db"
	if "/run/"+strings.ReplaceAll(unit["RuntimeDirectory"], "%i", "my-db") != inRun || !strings.HasSuffix(env["INSTANCES"], "="+inRun) {
		t.Errorf("%s, %s", unit["RuntimeDirectory"], env["INSTANCES"])
	}
	if env["CLOUDSQLCONN_SOCKET_GROUP"] != unit["SupplementaryGroups"] {
		t.Errorf("the socket's group is not one of the unit's user")
	}
	for key, value := range env {
		t.Setenv(key, value)
	}
	t.Setenv("CLOUDSQLCONN_SOCKET_GROUP", strconv.Itoa(os.Getgid()))
	t.Setenv("CLOUDSQLCONN_HEALTH", "127.0.0.1:0")
	manager := newManager(t)

	p := startProxy(t, newEcho(t), strings.ReplaceAll(env["INSTANCES"], inRun, folder))
	p.next("answering probes on ")
	path := filepath.Join(folder, ".s.PGSQL.5432")
	if got := p.listening(); got != path {
		t.Errorf("%s, want %s", got, path)
	}
	manager.want("READY=1")
	wantEcho(t, path)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	p.stop()
	manager.want("STOPPING=1")
	p.wantEnd(exitOK)
}

// Names that are no flag's would have no effect.
func TestTheVariablesOfTheUnitAreFlags(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("deploy", "cloudsqlconn.env"))
	if err != nil {
		t.Fatal(err)
	}
	fs := flag.NewFlagSet("proxy", flag.ContinueOnError)
	(&program{}).proxy(fs)
	n := 0
	for line := range strings.Lines(string(text)) {
		key, _, _ := strings.Cut(strings.TrimPrefix(line, "#"), "=")
		if name, ok := strings.CutPrefix(key, "CLOUDSQLCONN_"); ok {
			n++
			if fs.Lookup(strings.ToLower(strings.ReplaceAll(name, "_", "-"))) == nil {
				t.Errorf("%s is no flag", key)
			}
		}
	}
	if n < 4 {
		t.Errorf("%d variables", n)
	}
}

// sidecar is what matters here of a container of a pod.
type sidecar struct {
	Args          []string
	RestartPolicy string `yaml:"restartPolicy"`
	Ports         []struct {
		Name          string
		ContainerPort int `yaml:"containerPort"`
	}
	Startup   kubeProbe `yaml:"startupProbe"`
	Readiness kubeProbe `yaml:"readinessProbe"`
	Liveness  kubeProbe `yaml:"livenessProbe"`
}

type kubeProbe struct {
	HTTPGet struct{ Path, Port string } `yaml:"httpGet"`
}

// The sidecar runs as the pod says, at ports of the test, and its probes go well.
func TestTheKubernetesSidecar(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("deploy", "sidecar.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var pod struct {
		Spec struct {
			Grace          int       `yaml:"terminationGracePeriodSeconds"`
			InitContainers []sidecar `yaml:"initContainers"`
		}
	}
	if err := yaml.Unmarshal(text, &pod); err != nil {
		t.Fatal(err)
	}
	c := pod.Spec.InitContainers[0]
	if c.RestartPolicy != "Always" || c.Args[0] != "proxy" {
		t.Errorf("got %+v", c)
	}
	port := strconv.Itoa(c.Ports[0].ContainerPort)
	args := strings.Join(c.Args[1:], "\n")
	for _, replace := range [][2]string{{"=0.0.0.0:" + port, "=0.0.0.0:0"}, {"listen=127.0.0.1:5432", "port=0"}} {
		if !strings.Contains(args, replace[0]) {
			t.Errorf("%q is not in %q", replace[0], args)
		}
		args = strings.Replace(args, replace[0], replace[1], 1)
	}
	p := startProxy(t, newEcho(t), strings.Split(args, "\n")...)
	_, healthPort, err := net.SplitHostPort(strings.TrimPrefix(p.next("answering probes on ").Msg, "answering probes on "))
	if err != nil {
		t.Fatal(err)
	}
	wantEcho(t, p.listening())
	for _, probe := range []kubeProbe{c.Startup, c.Readiness, c.Liveness} {
		if status, body := get(t, "http://127.0.0.1:"+healthPort+probe.HTTPGet.Path); status != http.StatusOK || probe.HTTPGet.Port != c.Ports[0].Name {
			t.Errorf("%+v: %d, %q", probe, status, body)
		}
	}
	p.stop()
	if r := p.next("stopping"); time.Duration(pod.Spec.Grace)*time.Second <= r.Drain {
		t.Errorf("it is killed after %d s; connections have %v", pod.Spec.Grace, r.Drain)
	}
	p.wantEnd(exitOK)
}

// manager is a service manager, as programs see it.
type manager struct {
	t    *testing.T
	conn *net.UnixConn
}

// newManager returns one that programs are told of.
func newManager(t *testing.T) *manager {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return &manager{t, c}
}

// want waits for what the manager is told next.
func (m *manager) want(text string) {
	m.t.Helper()
	b := make([]byte, 100)
	if n, err := m.conn.Read(b); err != nil || string(b[:n]) != text {
		m.t.Errorf("got %q, %v, want %q", b[:n], err, text)
	}
}

func TestTheServiceManagerIsTold(t *testing.T) {
	m := newManager(t)
	p := startProxy(t, newEcho(t), instance+"?port=0")
	m.want("READY=1")
	p.stop()
	m.want("STOPPING=1")
	p.wantEnd(exitOK)
}
