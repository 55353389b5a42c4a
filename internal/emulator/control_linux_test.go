package emulator

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
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

	p.change("POST", path+"/rotate-server-ca", "")
	p.change("POST", path+"/rotate-client-ca", "")
	wantEcho(t, d, defaultInstance)
	if s := p.change("GET", path, ""); s.Counts.Distrusted == 0 {
		t.Errorf("no client noticed the new CA: %+v", s.Counts)
	}

	p.change("POST", path+"/behavior", `{"behavior": "ResetAtOnce", "connections": 1}`)
	wantEcho(t, d, defaultInstance)
	if s := p.change("GET", path, ""); s.Counts.Dropped != 1 {
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
	if !strings.Contains(p.stderr.String(), "msg=control method=DELETE path="+path) {
		t.Errorf("the log is\n%s", p.stderr)
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

func TestWrongRequestsAreRefused(t *testing.T) {
	t.Parallel()
	p := startProgram(t, "-backend", "echo")
	for _, tt := range []struct {
		method, path, body, want string
		code                     int
	}{
		{"GET", "/instances/p:r:other", "", "no such instance", 404},
		{"POST", "/instances", `{"backend": "echo"}`, "name: want", 400},
		{"POST", "/instances", `{"name": "p:r:i", "colour": "red"}`, "unknown key colour", 400},
		{"POST", "/instances", `{"name": "p:r:i", "engine": "oracle"}`, "unknown engine", 400},
		{"POST", "/instances", `{"name": "p:r:i", "backend": "echo", "addresses": {"public": "192.0.2.1"}}`, "not on loopback", 400},
		{"POST", "/instances", `{"name": "my-project:us-east1:my-db", "backend": "echo"}`, "exists", 409},
		{"POST", path + "/explode", "", "not found", 404},
		{"POST", path + "/behavior", "", "nothing in it", 400},
		{"POST", path + "/behavior", `{"behavior": "Moody"}`, "unknown behavior", 400},
		{"POST", path + "/cut", `{"hard": true}`, "unknown key hard", 400},
		{"POST", path + "/addresses", `{"psc": "x.goog"}`, "want public, private or both", 400},
		{"POST", path + "/addresses", `{"public": "192.0.2.1"}`, "not on loopback", 400},
		{"POST", path + "/server-certificate", `{"is": "odd"}`, "unknown server certificate", 400},
		{"POST", path + "/certificate-life", `{"life": "long"}`, "cannot unmarshal", 400},
		{"POST", "/faults", `{"kind": "explode"}`, "unknown kind", 400},
		{"DELETE", "/faults/one", "", "no such fault", 404},
		{"PUT", path, "", "Method Not Allowed", 405},
	} {
		if code, text := p.call(tt.method, tt.path, tt.body); code != tt.code || !strings.Contains(text, tt.want) {
			t.Errorf("%s %s %s: got %d %s, want %d %s", tt.method, tt.path, tt.body, code, text, tt.code, tt.want)
		}
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
	if code, text := p.call("POST", path+"/stop", "", "Origin", "https://example.com", "Sec-Fetch-Site", "cross-site"); code != 403 {
		t.Errorf("another origin: %d %s", code, text)
	}
	if s := p.change("GET", path, ""); !s.Listening {
		t.Error("the instance was stopped")
	}
}
