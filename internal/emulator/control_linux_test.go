package emulator

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn"
)

// call makes a request to the control endpoint.
func (p *program) call(method, path, body string, header ...string) (int, string) {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), method, p.value("status page")+path, strings.NewReader(body))
	wantNil(p.t, err)
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	wantNil(p.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	wantNil(p.t, err)
	return resp.StatusCode, string(text)
}

// change makes a request that must succeed, and returns the instance.
func (p *program) change(method, path, body string) (s status) {
	p.t.Helper()
	code, text := p.call(method, path, body)
	if code/100 != 2 {
		p.t.Fatalf("%s %s: %d %s", method, path, code, text)
	}
	wantNil(p.t, json.Unmarshal([]byte(text), &s))
	return s
}

const path = "/instances/" + defaultInstance

func TestInstancesChangeWhileTheEmulatorRuns(t *testing.T) {
	t.Parallel()
	p := startProgram(t, "-backend", "echo")
	d := p.dialer()
	conn := wantEcho(t, d, defaultInstance)

	if code, text := p.call("POST", path+"/cut", `{"reset": true}`); code != 200 || !strings.Contains(text, `"cut": 1`) {
		t.Errorf("got %d %s", code, text)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("the connection was not cut")
	}
	if s := p.change("POST", path+"/stop", ""); s.Listening {
		t.Error("the instance listens after stop")
	}
	if s := p.change("POST", path+"/start", ""); !s.Listening {
		t.Error("the instance does not listen after start")
	}
	wantEcho(t, d, defaultInstance)

	if s := p.change("POST", path+"/state", `{"state": "suspended"}`); s.Listening || s.State != "SUSPENDED" {
		t.Errorf("suspended: got %+v", s)
	}
	if _, html := p.call("GET", "/", ""); !strings.Contains(html, ">SUSPENDED<") {
		t.Errorf("the page does not show the state:\n%s", html)
	}
	if _, err := p.dialer().Dial(t.Context(), defaultInstance); err == nil || !strings.Contains(err.Error(), "invalidState") {
		t.Errorf("Dial of a suspended instance: %v", err)
	}
	if code, _ := p.call("POST", path+"/state", `{"state": "asleep"}`); code != 400 {
		t.Errorf("status %d for a state that does not exist", code)
	}
	if s := p.change("POST", path+"/state", `{"state": "RUNNABLE"}`); !s.Listening || s.State != "" {
		t.Errorf("runnable again: got %+v", s)
	}
	wantEcho(t, d, defaultInstance)

	p.change("POST", path+"/rotate-server-ca", "")
	p.change("POST", path+"/rotate-client-ca", "")
	wantEcho(t, d, defaultInstance)
	if s := p.change("GET", path, ""); s.Counts["distrusted"] == 0 {
		t.Errorf("no client noticed the new CA: %+v", s.Counts)
	}

	p.change("POST", path+"/behavior", `{"behavior": "ResetAtOnce", "connections": 1}`)
	wantEcho(t, d, defaultInstance)
	if s := p.change("GET", path, ""); s.Counts["dropped"] != 1 {
		t.Errorf("no connection was reset: %+v", s.Counts)
	}

	if s := p.change("POST", path+"/addresses", `{"private": "auto"}`); len(s.Addresses) != 1 || s.Addresses["PRIVATE"] == "" {
		t.Errorf("got %v", s.Addresses)
	}
	wantEcho(t, p.dialer(), defaultInstance, cloudsqlconn.WithPrivateIP())

	p.change("POST", path+"/server-certificate", `{"is": "expired"}`)
	if _, err := p.dialer().Dial(t.Context(), defaultInstance, cloudsqlconn.WithPrivateIP()); err == nil {
		t.Error("an expired certificate was accepted")
	}
	p.change("POST", path+"/server-certificate", `{"is": "good"}`)
	p.change("POST", path+"/certificate-life", `{"life": "10m"}`)
	wantEcho(t, p.dialer(), defaultInstance, cloudsqlconn.WithPrivateIP())

	p.change("DELETE", path, "")
	if code, _ := p.call("GET", path, ""); code != 404 {
		t.Errorf("status %d after DELETE", code)
	}
	if s := p.change("POST", "/instances", `{"name": "`+defaultInstance+`", "backend": "echo", "engine": "mysql", "nodes": 1}`); s.Version != "MYSQL_8_0" || len(s.Nodes) != 1 {
		t.Errorf("got %+v", s)
	}
	wantEcho(t, p.dialer(), defaultInstance)
	if !strings.Contains(p.stderr.String(), "msg=control method=DELETE path="+path+" status=200 ") {
		t.Errorf("the log is\n%s", p.stderr)
	}
}

func TestWhatWasSwitchedOnIsShown(t *testing.T) {
	t.Parallel()
	p := startProgram(t, "-backend", "echo")
	wantShown := func(when, behavior string, connections int, cert, life string, page ...string) {
		t.Helper()
		s := p.change("GET", path, "")
		if s.Behavior != behavior || s.Connections != connections || s.ServerCertificate != cert || s.CertificateLife != life {
			t.Errorf("%s: got %+v", when, s)
		}
		_, html := p.call("GET", "/", "")
		for _, want := range page {
			if !strings.Contains(html, want) {
				t.Errorf("%s: the page has no %q:\n%s", when, want, html)
			}
		}
	}
	wantShown("at first", "", 0, "", "")
	p.change("POST", path+"/stop", "")
	p.change("POST", path+"/server-certificate", `{"is": "wrong-name"}`)
	p.change("POST", path+"/certificate-life", `{"life": "2m"}`)
	p.change("POST", path+"/behavior", `{"behavior": "silent"}`)
	wantShown("all", "Silent", 0, "wrong-name", "2m0s", "stopped", ">Silent<", "server certificate wrong-name", "client certificates live 2m0s")

	p.change("POST", path+"/start", "")
	p.change("POST", path+"/server-certificate", `{"is": "good"}`)
	p.change("POST", path+"/certificate-life", `{"life": "0s"}`)
	p.change("POST", path+"/behavior", `{"behavior": "CloseAtOnce", "connections": 2}`)
	wantShown("for two connections", "CloseAtOnce", 2, "", "", "CloseAtOnce</span> for 2 more")
	for _, want := range []struct {
		behavior string
		left     int
	}{{"CloseAtOnce", 1}, {"", 0}} {
		conn, err := net.Dial("tcp", p.change("GET", path, "").Addresses["PUBLIC"]+":3307")
		wantNil(t, err)
		_, err = conn.Read(make([]byte, 1))
		_ = conn.Close()
		if err == nil {
			t.Error("the connection was not closed")
		}
		wantShown("after a connection", want.behavior, want.left, "", "")
	}
}

func TestWhatTheFileSwitchesOnIsShown(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "emulator.yaml")
	wantNil(t, os.WriteFile(file, []byte("instances: [{backend: echo, behavior: Silent, serverCertificate: expired, certificateLife: 5m}]"), 0o600))
	p := startProgram(t, "-config", file)
	if s := p.change("GET", path, ""); s.Behavior != "Silent" || s.ServerCertificate != "expired" || s.CertificateLife != "5m0s" {
		t.Errorf("got %+v", s)
	}
}

func TestCountsThatAreNotZeroAreOnThePage(t *testing.T) {
	t.Parallel()
	p := startProgram(t, "-backend", "echo")
	wantEcho(t, p.dialer(), defaultInstance)
	_, html := p.call("GET", "/", "")
	if !strings.Contains(html, "<td>1 accepted<br>1 handshakes<br><td>") {
		t.Errorf("the page is\n%s", html)
	}
	if _, text := p.call("GET", path, ""); !strings.Contains(text, `"accepted": 1,`) || !strings.Contains(text, `"distrusted": 0,`) || strings.Contains(text, "efused") {
		t.Errorf("got %s", text)
	}
}

func TestFaultsChangeWhileTheEmulatorRuns(t *testing.T) {
	t.Parallel()
	p := startProgram(t, "-backend", "echo")
	code, text := p.call("POST", "/faults", `{"kind": "close-at-once", "times": 1, "instance": "`+defaultInstance+`"}`)
	if code != 201 {
		t.Fatalf("%d %s", code, text)
	}
	wantEcho(t, p.dialer(), defaultInstance)
	var faults []fault
	_, text = p.call("GET", "/faults", "")
	wantNil(t, json.Unmarshal([]byte(text), &faults))
	if len(faults) != 1 || faults[0].Hits != 1 {
		t.Fatalf("got %+v", faults)
	}
	for _, want := range []int{200, 404} {
		if code, text := p.call("DELETE", fmt.Sprintf("/faults/%d", faults[0].ID), ""); code != want {
			t.Errorf("%d %s, want %d", code, text, want)
		}
	}
}

func TestPageRequestsAndClientsAreShown(t *testing.T) {
	t.Parallel()
	p := startProgram(t, "-backend", "echo", "-fault", "kind=delay,delay=1ms,header=X-Test: <b>")
	wantEcho(t, p.dialer(), defaultInstance)
	_, html := p.call("GET", "/", "")
	for _, want := range []string{defaultInstance, "/instances/my-db/connectSettings", "header=X-Test: &lt;b&gt;", p.value("token")} {
		if !strings.Contains(html, want) {
			t.Errorf("the page has no %q:\n%s", want, html)
		}
	}
	_, text := p.call("GET", "/requests", "")
	var requests []request
	wantNil(t, json.Unmarshal([]byte(text), &requests))
	if len(requests) != 2 || requests[0].Status != 200 || !requests[0].Fault || strings.Contains(text, p.value("token")) {
		t.Errorf("got %s", text)
	}
	for instance, want := range map[string]int{"": 200, "?instance=" + defaultInstance: 200, "?instance=p:r:other": 404} {
		code, text := p.call("GET", "/clients"+instance, "")
		if code != want || want == 200 && !strings.Contains(text, "--sqladmin-api-endpoint "+p.value("Admin API")) {
			t.Errorf("clients%s: %d %s", instance, code, text)
		}
	}
}

func TestREADMEsRequestsSucceed(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../cmd/cloudsql-emulator/README.md")
	wantNil(t, err)
	p := startProgram(t, "-backend", "echo")
	requests := regexp.MustCompile(`(?m)^curl (?:-X (\w+) )?(?:-d '(.*)' )?http://`+regexp.QuoteMeta(defaultControl)+`(\S+)$`).FindAllStringSubmatch(string(text), -1)
	for _, r := range requests {
		body := strings.Replace(r[2], `"auto"`, `"echo"`, 1) // needs no database
		if code, text := p.call(cmp.Or(r[1], "POST"), r[3], body); code/100 != 2 {
			t.Errorf("%s: %d %s", r[0], code, text)
		}
	}
	if len(requests) != 6 {
		t.Errorf("%d requests, want 6", len(requests))
	}
}

func TestAnInstanceThatIsDeletedCanBeAddedAgain(t *testing.T) {
	t.Parallel()
	p := startProgram(t, "-backend", "echo")
	const two = `{"name": "p:r:two", "backend": "echo"}`
	p.change("POST", "/instances", two)
	if code, text := p.call("POST", "/instances", two); code != http.StatusConflict {
		t.Fatalf("the second time: %d %s", code, text)
	}
	p.change("DELETE", "/instances/p:r:two", "")
	p.change("POST", "/instances", two)
	wantEcho(t, p.dialer(), "p:r:two")
}

func TestWrongRequestsAreRefused(t *testing.T) {
	t.Parallel()
	p := startProgram(t, "-backend", "echo")
	for _, tt := range []struct {
		method, path, body, want string
		code                     int
	}{
		{"GET", "/instances/p:r:other", "", "there is no instance p:r:other; want " + defaultInstance, 404},
		{"GET", "/clients?instance=p:r:other", "", "there is no instance p:r:other; want " + defaultInstance, 404},
		{"GET", "/colour", "", "there is no /colour; there are /, /clients,", 404},
		{"POST", "/instances", `{"backend": "echo"}`, "name: want", 400},
		{"POST", "/instances", `{"name": "p:r:i", "colour": "red"}`, "unknown key colour", 400},
		{"POST", "/instances", `{"name": "p:r:i", "engine": "oracle"}`, "unknown engine", 400},
		{"POST", "/instances", `{"name": "p:r:i", "backend": "echo", "addresses": {"public": "192.0.2.1"}}`, "not on loopback", 400},
		{"POST", "/instances", `{"name": "my-project:us-east1:my-db", "backend": "echo"}`, "exists", 409},
		{"POST", path + "/explode", "", "there is no " + path + "/explode; there are /,", 404},
		{"POST", path + "/behavior", "", "nothing in it", 400},
		{"POST", path + "/behavior", `{"behavior": "Moody"}`, "unknown behavior", 400},
		{"POST", path + "/cut", `{"hard": true}`, "unknown key hard\"", 400},
		{"POST", path + "/addresses", `{"psc": "x.goog"}`, "want public, private or both", 400},
		{"POST", path + "/addresses", `{"public": "192.0.2.1"}`, "not on loopback", 400},
		{"POST", path + "/server-certificate", `{"is": "odd"}`, "unknown server certificate", 400},
		{"POST", path + "/certificate-life", `{"life": "long"}`, "want a duration, such as 2m, got `long`", 400},
		{"POST", "/faults", `{"kind": "explode"}`, "unknown kind", 400},
		{"POST", "/faults", `{"kind": "status"}`, "kind status needs status, such as status=503", 400},
		{"POST", "/faults", `hang`, "want an object, such as {key: value}, got `hang`", 400},
		{"POST", "/faults", `["hang"]`, "want an object, such as {key: value}, got a list", 400},
		{"POST", path + "/cut", `true`, "want an object, such as {key: value}, got `true`", 400},
		{"POST", "/instances", `{"dnsNames": {}}`, "want a list, got an object", 400},
		{"DELETE", "/faults/one", "", "no such fault", 404},
		{"PUT", path, "", "PUT is not for " + path + "; want DELETE, GET, HEAD", 405},
	} {
		code, text := p.call(tt.method, tt.path, tt.body)
		var refused struct{ Error string }
		if err := json.Unmarshal([]byte(text), &refused); err != nil || code != tt.code || !strings.Contains(refused.Error+`"`, tt.want) {
			t.Errorf("%s %s %s: got %d %s, %v, want %d %s", tt.method, tt.path, tt.body, code, text, err, tt.code, tt.want)
		}
	}
	if want := "level=WARN msg=control method=POST path=/faults status=400 "; !strings.Contains(p.stderr.String(), want) {
		t.Errorf("the log has no %q:\n%s", want, p.stderr)
	}
	wantEcho(t, p.dialer(), defaultInstance)
}

// A page of the web can make a browser send requests to loopback.
func TestPagesOfTheWebAreKeptOut(t *testing.T) {
	t.Parallel()
	p := startProgram(t, "-backend", "echo")
	if code, text := p.call("GET", "/instances", "", "Host", "emulator.example.com"); code != 403 {
		t.Errorf("another host: %d %s", code, text)
	}
	if code, text := p.call("POST", path+"/stop", "", "Origin", "https://example.com", "Sec-Fetch-Site", "cross-site"); code != 403 || !strings.Contains(text, `"error": "a page of another site`) {
		t.Errorf("another origin: %d %s", code, text)
	}
	if s := p.change("GET", path, ""); !s.Listening {
		t.Error("the instance was stopped")
	}
}
