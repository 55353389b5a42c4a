package emulator

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/driver/postgres"
	"github.com/cloudsqlconn/cloudsqlconn/internal/dbserver"
)

// A program whose Dialer has no options runs on the emulator, with the line that
// the emulator prints, in spite of credentials that would be found elsewhere.
func TestProgramsRunOnTheEmulatorAsTheyAre(t *testing.T) {
	needsDatabase(t, dbserver.StartPostgres)
	p := startProgram(t)
	line := regexp.MustCompile(`(?m)^export CLOUDSQLCONN_EMULATOR_HOST.*$`).FindString(p.stdout.String())
	if line == "" {
		t.Fatalf("no line to paste:\n%s", p.stdout)
	}
	for _, pair := range strings.Fields(line)[1:] {
		name, value, _ := strings.Cut(pair, "=")
		t.Setenv(name, value)
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "/real.json") // a failure if it is read

	d, err := cloudsqlconn.NewDialer(t.Context())
	wantNil(t, err)
	defer d.Close()
	for dsn, iam := range map[string]bool{"user=app password=app": false, "user=app@my-project.iam": true} {
		connector, err := postgres.NewConnector(d, "host="+defaultInstance+" dbname=app "+dsn, cloudsqlconn.WithIAMAuthN(iam))
		wantNil(t, err)
		user, _, _ := strings.Cut(strings.TrimPrefix(dsn, "user="), " ")
		if got, err := ping(t, sql.OpenDB(connector), "SELECT current_user"); err != nil || got != user {
			t.Errorf("got %q, %v, want %s", got, err, user)
		}
	}
	if got, err := d.IAMPrincipal(t.Context()); err != nil || got != "app@my-project.iam.gserviceaccount.com" {
		t.Errorf("the principal is %q, %v", got, err)
	}
}

func TestMetadataServerAnswersAsTheRealOne(t *testing.T) {
	t.Parallel()
	p := startProgram(t, "-backend", "echo", "-principal", "ann@example.com", "-instance", "shop:europe-west4:orders")
	const root = "/computeMetadata/v1/"
	google := []string{"Metadata-Flavor", "Google"}
	for _, tt := range []struct {
		path   string
		header []string
		code   int
		body   string // in it
	}{
		{"project/project-id", google, 200, "shop"},
		{"project/numeric-project-id", google, 200, "1"},
		{"universe/universe-domain", google, 200, "googleapis.com"},
		{"instance/zone", google, 200, "/zones/europe-west4-a"},
		{"instance/service-accounts/default/email", google, 200, "ann@example.com"},
		{"instance/service-accounts/", google, 200, "default/\nann@example.com/\n"},
		{"instance/service-accounts/?recursive=true", google, 200, `"default":{"aliases":["default"],"email":"ann@example.com"`},
		{"instance/service-accounts/default/?recursive=true", google, 200, `"email":"ann@example.com"`},
		{"instance/service-accounts/default/token", google, 200, `"access_token":"` + p.value("token") + `","expires_in":3600,"token_type":"Bearer"`},
		{"instance/service-accounts/ann@example.com/token?scopes=https://www.googleapis.com/auth/sqlservice.login", google, 200, p.value("login token")},
		{"instance/service-accounts/default/identity", google, 400, "audience"},
		{"instance/service-accounts/eve@example.com/token", google, 404, "Not Found"},
		{"instance/attributes/", google, 404, "Not Found"},
		{"project/project-id", nil, 403, "Metadata-Flavor: Google"},
		{"instance/service-accounts/default/token", append([]string{"X-Forwarded-For", "192.0.2.1"}, google...), 403, "forwarded"},
		{"project/project-id", append([]string{"Host", "metadata.example.com"}, google...), 403, "loopback"},
	} {
		if code, text := p.call("GET", root+tt.path, "", tt.header...); code != tt.code || !strings.Contains(text, tt.body) {
			t.Errorf("%s %q: got %d %s, want %d %s", tt.path, tt.header, code, text, tt.code, tt.body)
		}
	}
	if code, _ := p.call("POST", root+"project/project-id", "", google...); code != 405 {
		t.Errorf("POST: got %d, want 405", code)
	}
}

func TestIdentitiesHaveTheFormOfGoogles(t *testing.T) {
	t.Parallel()
	p := startProgram(t, "-backend", "echo")
	code, token := p.call("GET", "/computeMetadata/v1/instance/service-accounts/default/identity?audience=https://example.com&format=full", "", "Metadata-Flavor", "Google")
	parts := strings.Split(token, ".")
	if code != 200 || len(parts) != 3 {
		t.Fatalf("%d %s", code, token)
	}
	claimed, err := base64.RawURLEncoding.DecodeString(parts[1])
	wantNil(t, err)
	var claims struct {
		Aud, Iss, Email string
		Exp             int64
	}
	wantNil(t, json.Unmarshal(claimed, &claims))
	if claims.Aud != "https://example.com" || claims.Iss != "https://accounts.google.com" || claims.Email != "app@my-project.iam.gserviceaccount.com" || claims.Exp <= time.Now().Unix() {
		t.Errorf("got %s", claimed)
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	wantNil(t, err)
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	wantNil(t, rsa.VerifyPKCS1v15(&machineKey().PublicKey, crypto.SHA256, sum[:], signature))
}

func TestMetadataServerNeedsAnInstance(t *testing.T) {
	t.Parallel()
	p := startProgram(t, "-backend", "echo")
	if code, text := p.call("DELETE", path, ""); code != 200 {
		t.Fatalf("%d %s", code, text)
	}
	if code, text := p.call("GET", "/computeMetadata/v1/project/project-id", "", "Metadata-Flavor", "Google"); code != 404 || !strings.Contains(text, "no instance") {
		t.Errorf("got %d %s", code, text)
	}
}

func TestAllFaultsEndAtOnce(t *testing.T) {
	t.Parallel()
	p := startProgram(t, "-backend", "echo", "-fault", "kind=status,status=403")
	if code, text := p.call("POST", "/faults", `{"kind": "close-at-once"}`); code != 201 {
		t.Fatalf("%d %s", code, text)
	}
	if _, err := p.dialer().Dial(t.Context(), defaultInstance); err == nil {
		t.Fatal("the faults do nothing")
	}
	if code, text := p.call("DELETE", "/faults", ""); code != 200 || !strings.Contains(text, `"removed": 2`) {
		t.Errorf("got %d %s", code, text)
	}
	if _, text := p.call("GET", "/faults", ""); strings.TrimSpace(text) != "[]" {
		t.Errorf("got %s", text)
	}
	wantEcho(t, p.dialer(), defaultInstance)
}

func TestBackendThatIsDownIsWarnedOf(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	wantNil(t, err)
	const warning = "the backend cannot be reached"
	if p := startProgram(t, "-backend", l.Addr().String()); strings.Contains(p.stderr.String(), warning) {
		t.Errorf("a backend that is up: %s", p.stderr)
	}
	wantNil(t, l.Close())
	for _, backend := range []string{l.Addr().String(), t.TempDir() + "/none.sock"} {
		if p := startProgram(t, "-backend", backend); !strings.Contains(p.stderr.String(), warning) || !strings.Contains(p.stderr.String(), backend) {
			t.Errorf("%s: %s", backend, p.stderr)
		}
	}
}
