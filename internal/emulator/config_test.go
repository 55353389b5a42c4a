package emulator

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/engine"
)

// exampleFile stands beside the program that people install.
const exampleFile = "../../cmd/cloudsql-emulator/example.yaml"

func TestExampleIsGood(t *testing.T) {
	t.Parallel()
	cfg, err := loadConfig(exampleFile)
	wantNil(t, err)
	if problems := cfg.complete(); len(problems) > 0 {
		t.Fatal(problems)
	}
	two := cfg.Instances[1]
	if len(cfg.Instances) != 2 || two.Engine != "mysql" || two.CertificateLife != 10*time.Minute || two.Nodes != 2 || cfg.Faults[0].Delay != 100*time.Millisecond {
		t.Errorf("got %+v, %+v", cfg, two)
	}
}

// The credentials that the emulator gives out are those of somebody who could have them.
func TestPrincipalIsTheFirstThatIsNamed(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"instances:\n- {}\n": "app@my-project.iam.gserviceaccount.com",
		"instances:\n- name: z:r:i\n- name: example.com:p:r:i\n":                                "app@p.iam.gserviceaccount.com",
		"instances:\n- iamUsers: [ann@example.com]\n":                                           "ann@example.com",
		"principals:\n- email: bob@example.com\ninstances:\n- iamUsers: [ann@example.com]\n":    "bob@example.com",
		"principal: eve@example.com\nprincipals:\n- email: bob@example.com\ninstances:\n- {}\n": "eve@example.com",
	} {
		cfg := &config{}
		wantNil(t, decode([]byte(text), cfg))
		if problems := cfg.complete(); len(problems) > 0 {
			t.Errorf("%q: %v", text, problems)
		}
		if got := cfg.self(); got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
}

// The example names every key.
func TestExampleIsComplete(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(exampleFile)
	wantNil(t, err)
	for _, key := range []string{"listen", "control", "allowRemote", "token", "loginToken", "principal", "principals", "email", "anyIAMUser", "quota", "maxRequests", "allowAnyKey", "instances",
		"name", "engine", "version", "backend", "iamBackend", "addresses", "public", "private", "psc", "nodes", "sqlData", "sqlDataCA", "caMode", "dnsNames", "iamUsers", "certificateLife", "clockSkew",
		"serverCertificate", "noSessionTickets", "metadataExchange", "behavior", "faults", "instance", "call", "probability", "times", "kind", "delay", "status", "body", "header"} {
		if !strings.Contains(string(text), " "+key+":") && !strings.Contains(string(text), "\n"+key+":") {
			t.Errorf("example.yaml has no %s", key)
		}
	}
}

func TestMistakesInAFileAreNamedWithTheirLine(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                           "nothing in it",
		"instances: []":              "line 1: instances: want one or more",
		"\nlisten: x\ncolour: red\n": "line 3: unknown key colour",
		"instances:\n- {backend: echo}\n- name: p:r:i\n  backend: echo\n  colour: red": "line 5: unknown key colour",
		"instances:\n- name: p:r:i\n  engine: oracle\n":                                `line 3: engine: unknown engine "oracle"; want postgres, mysql or sqlserver`,
		"instances:\n- backend: echo\n  nodes: many\n":                                 "line 3: want a whole number, got `many`",
		"instances:\n- backend: echo\n  nodes: 21\n":                                   "line 3: nodes: want 0 to 20",
		"instances:\n- backend: echo\n- backend: echo\n":                               "line 3: name: my-project:europe-west1:my-db is there twice",
		"instances:\n-\n":                                        "line 2: an instance is empty",
		"instances:\n- name: my-db\n":                            "line 2: name: ",
		"instances:\n- engine: mysql\n  version: POSTGRES_16\n":  `line 3: version: "POSTGRES_16" is none of mysql`,
		"instances:\n- engine: sqlserver\n":                      "line 2: backend: there is no SQL Server to start",
		"instances:\n- backend: x\n":                             "line 2: backend: want host:port",
		"instances:\n- {backend: embedded, engine: sqlserver}\n": "line 2: backend: there is no SQL Server to embed",
		"instances:\n- {backend: embedded, iamBackend: /x}\n":    "line 2: iamBackend: is for a backend of your own",
		"instances:\n- iamBackend: /x\n":                         "line 2: iamBackend: is for a backend of your own",
		"instances:\n- addresses:\n    psc: x.goog\n":            "line 2: addresses: want public, private or both",
		"instances:\n- addresses: {public: db.test}\n":           "line 2: addresses: want an IPv4 address or auto",
		"instances:\n- caMode: SOME\n":                           "line 2: caMode: unknown mode",
		"instances:\n- serverCertificate: bad\n":                 "line 2: serverCertificate: unknown",
		"instances:\n- metadataExchange: bad\n":                  "line 2: metadataExchange: unknown",
		"instances:\n- behavior: bad\n":                          "line 2: behavior: unknown behavior \"bad\"; want Healthy, Silent,",
		"instances:\n- {}\nfaults:\n- kind: explode\n":           "line 4: rule \"kind=explode\": unknown kind",
		"instances:\n- {}\nfaults:\n- colour: red\n":             "line 4: unknown key colour",
		"instances:\n- {}\nquota: -1\n":                          "line 3: quota: want 0 or more",
		"instances:\n- {}\nprincipals:\n- token: t\n":            "line 4: a principal needs an email",
		"instances:\n- {}\n---\ninstances:\n- {}\n":              "more than one document",
		"instances: [": "line 1: ",
	} {
		file := filepath.Join(t.TempDir(), "emulator.yaml")
		wantNil(t, os.WriteFile(file, []byte(text), 0o600))
		if _, err := loadConfig(file); err == nil || !strings.HasPrefix(err.Error(), file+": ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

func TestREADMEHasEveryFault(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../cmd/cloudsql-emulator/README.md")
	wantNil(t, err)
	for _, kind := range cloudsqltest.RuleKinds() {
		if !strings.Contains(string(text), "`"+kind+"`") {
			t.Errorf("README.md has no %s", kind)
		}
	}
}

func FuzzConfig(f *testing.F) {
	example, err := os.ReadFile(exampleFile)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(example))
	f.Add("instances:\n- &a {backend: echo}\n- *a\n")
	f.Add("? [a]\n: b\n")
	file := filepath.Join(f.TempDir(), "emulator.yaml")
	f.Fuzz(func(t *testing.T, text string) {
		wantNil(t, os.WriteFile(file, []byte(text), 0o600))
		if cfg, err := loadConfig(file); err == nil && len(cfg.complete()) > 0 {
			t.Errorf("loaded, but not good: %q", text)
		}
	})
}

func TestEveryEngineCanBeEmulated(t *testing.T) {
	t.Parallel()
	found := map[engine.Engine]bool{}
	for _, e := range engines {
		found[engine.Of(e.prefix)] = true
	}
	for _, e := range engine.All {
		if !found[e] {
			t.Errorf("there is no %s", e)
		}
	}
}
