package emulator

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata/wire"
)

// stream opens a stream of SQL Data, with what the program prints and nothing
// else.
func (p *program) stream(region, instance string) (grpc.ClientStream, error) {
	p.t.Helper()
	endpoint, security := p.value("SQL Data"), insecure.NewCredentials()
	if addr, ok := strings.CutPrefix(endpoint, "https://"); ok {
		var err error
		security, err = credentials.NewClientTLSFromFile(p.value("its CA"), "")
		wantNil(p.t, err)
		endpoint = addr
	}
	cc, err := grpc.NewClient("passthrough:///"+strings.TrimPrefix(endpoint, "http://"), grpc.WithTransportCredentials(security), grpc.WithDefaultCallOptions(grpc.ForceCodecV2(wire.Codec)))
	wantNil(p.t, err)
	p.t.Cleanup(func() { _ = cc.Close() })
	s := wire.NewSession("my-project", region, instance)
	ctx := metadata.AppendToOutgoingContext(p.t.Context(), "authorization", "Bearer "+p.value("token"), "x-goog-request-params", s.RoutingHeader())
	stream, err := cc.NewStream(ctx, &wire.Desc, wire.Path)
	wantNil(p.t, err)
	wantNil(p.t, stream.SendMsg(&wire.Request{Start: &s}))
	return stream, stream.RecvMsg(new(wire.Response))
}

// ask makes a request to the control endpoint.
func (p *program) ask(method, path, body string) string {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), method, p.value("status page")+path, strings.NewReader(body))
	wantNil(p.t, err)
	resp, err := http.DefaultClient.Do(req)
	wantNil(p.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	wantNil(p.t, err)
	return string(text)
}

func TestSQLDataIsServedWithTLSAndInClear(t *testing.T) {
	t.Parallel()
	for addr, google := range map[string]bool{"127.0.0.1:0": true, "http://127.0.0.1:0": false} {
		p := startProgram(t, "-backend", "echo", "-sql-data", addr)
		stream, err := p.stream("europe-west1", "my-db")
		wantNil(t, err)
		m, _ := wire.NewRequest([]byte("hello"))
		wantNil(t, stream.SendMsg(m))
		answer := new(wire.Response)
		wantNil(t, stream.RecvMsg(answer))
		if b, _ := io.ReadAll(answer.Data); string(b) != "hello" {
			t.Errorf("got %q", b)
		}
		for _, line := range []string{"cloudsqlconn.WithSQLData()),", "--sql-data --sqldata-api-endpoint 127.0.0.1:", "ipType: 'SQL_DATA'", "export SSL_CERT_FILE=/", "export GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=/"} {
			if strings.Contains(p.stdout.String(), line) != google {
				t.Errorf("%s: is %q in the output? want %v:\n%s", addr, line, google, p.stdout)
			}
		}
		if line := `WithSQLDataEndpoint("` + p.value("SQL Data") + `")`; !strings.Contains(p.stdout.String(), line) {
			t.Errorf("the output has no %s", line)
		}
		for path, want := range map[string]string{"/": p.value("SQL Data"), "/streams": `"received": 5`, "/instances": `"streams": 1`} {
			if got := p.ask("GET", path, ""); !strings.Contains(got, want) {
				t.Errorf("GET %s has no %s:\n%s", path, want, got)
			}
		}
		if got := p.ask("POST", "/sql-data/cut", `{"reset": true}`); !strings.Contains(got, `"connections": 1`) {
			t.Errorf("cut: got %s", got)
		}
		if err := stream.RecvMsg(answer); grpcstatus.Code(err) != codes.Unavailable {
			t.Errorf("got %v", err)
		}
		_, err = p.stream("europe-west1", "my-db")
		wantNil(t, err)
		if got := p.ask("POST", "/sql-data/go-away", `{"grace": "1h"}`); !strings.Contains(got, `"connections": 1`) {
			t.Errorf("go-away: got %s", got)
		}
		if got := p.ask("POST", "/sql-data/black-hole", ""); !strings.Contains(got, `"connections": 1`) {
			t.Errorf("black-hole: got %s", got)
		}
		if got := p.ask("POST", "/sql-data/explode", ""); !strings.Contains(got, "no such fault") {
			t.Errorf("got %s", got)
		}
		if google {
			file := p.value("its CA")
			if p.stop(); p.stop() != 0 {
				t.Error(p.stderr)
			}
			if _, err := os.Stat(file); !os.IsNotExist(err) {
				t.Errorf("%s is still there", file)
			}
		}
	}
}

func TestSQLDataServesTheInstancesThatTheFileNames(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, ca := filepath.Join(dir, "emulator.yaml"), filepath.Join(dir, "ca.pem")
	wantNil(t, os.WriteFile(file, []byte(`
sqlData: 127.0.0.1:0
faults: [{call: streamSqlData, instance: "my-project:europe-west1:slow", kind: status, status: 429}]
instances:
- {name: "my-project:europe-west1:one", backend: echo}
- {name: "my-project:europe-west1:two", backend: echo, sqlData: false}
- {name: "my-project:europe-west1:three", backend: echo, engine: mysql}
- {name: "my-project:europe-west1:four", backend: echo, engine: mysql, sqlData: true}
- {name: "my-project:europe-west1:slow", backend: echo}
`), 0o600))
	p := startProgram(t, "-config", file, "-sql-data-ca", ca)
	if got := p.value("its CA"); got != ca {
		t.Errorf("the CA is in %s", got)
	}
	for name, want := range map[string]codes.Code{"one": codes.OK, "two": codes.FailedPrecondition, "three": codes.FailedPrecondition, "four": codes.OK, "slow": codes.ResourceExhausted} {
		if _, err := p.stream("europe-west1", name); grpcstatus.Code(err) != want {
			t.Errorf("%s: got %v, want %v", name, err, want)
		}
		if got := strings.Contains(p.ask("GET", "/clients?instance=my-project:europe-west1:"+name, ""), "SQL_DATA"); got != (name == "one" || name == "four" || name == "slow") {
			t.Errorf("%s: lines for SQL Data: %v", name, got)
		}
	}
	if got := p.ask("GET", "/streams", ""); !strings.Contains(got, "FailedPrecondition: unsupported instance edition") || !strings.Contains(got, `"fault": true`) {
		t.Errorf("the streams are %s", got)
	}
}

func TestSQLDataThatCannotBeServedIsAnError(t *testing.T) {
	t.Parallel()
	fails(t, 1, "-sql-data 0.0.0.0:0 is not on loopback", "-backend", "echo", "-listen", "127.0.0.1:0", "-control", "none", "-sql-data", "0.0.0.0:0")
	fails(t, 1, "no such file", "-backend", "echo", "-listen", "127.0.0.1:0", "-control", "none", "-sql-data", "127.0.0.1:0", "-sql-data-ca", "/missing/ca.pem")
	p := startProgram(t, "-backend", "echo")
	if got := p.ask("POST", "/sql-data/cut", ""); !strings.Contains(got, "-sql-data turns it on") {
		t.Errorf("got %s", got)
	}
	if got := p.ask("GET", "/streams", ""); strings.TrimSpace(got) != "[]" {
		t.Errorf("got %s", got)
	}
}
