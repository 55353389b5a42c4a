package main

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/authtest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/testmain"
)

// child is a variable that makes the test binary the program, with an Admin API
// of its own.
const child = "TEST_CHILD_OF_CLOUDSQLCONN"

func TestMain(m *testing.M) {
	if os.Getenv(child) == "" {
		os.Exit(testmain.Run(m))
	}
	s := cloudsqltest.NewServer()
	s.AddInstance(instance, cloudsqltest.Instance{})
	os.Exit((&program{stdout: translated{os.Stdout}, stderr: translated{os.Stderr}, options: s.Options()}).main(os.Args[1:]))
}

const instance = "my-project:europe-west1:my-db"

// postgres answers as a PostgreSQL server without TLS does.
func postgres(c net.Conn) {
	if _, err := io.ReadFull(c, make([]byte, 8)); err == nil {
		_, _ = c.Write([]byte("N"))
		_, _ = io.Copy(io.Discard, c)
	}
}

func newServer(t *testing.T) *cloudsqltest.Server {
	t.Helper()
	s := cloudsqltest.NewServer()
	t.Cleanup(s.Close)
	s.AddInstance(instance, cloudsqltest.Instance{Handler: postgres})
	return s
}

// cli runs the program against s, with the credentials or the token of the
// flags if there are any.
func cli(t *testing.T, s *cloudsqltest.Server, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	opts := []cloudsqlconn.Option{cloudsqlconn.WithDialFunc(s.DialContext), cloudsqlconn.WithAdminAPIEndpoint(s.URL())}
	if all := strings.Join(args, " "); !strings.Contains(all, "-credentials") && !strings.Contains(all, "-token") {
		opts = s.Options()
	}
	var out, errs strings.Builder
	code = (&program{stdout: translated{&out}, stderr: translated{&errs}, options: opts}).run(t.Context(), args)
	return code, out.String(), errs.String()
}

func TestCheckOfAGoodInstance(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := cli(t, newServer(t), "check", instance)
	if code != 0 || stderr != "" || !strings.HasPrefix(stdout, "check of "+instance+": ok\n") || !strings.Contains(stdout, "PostgreSQL answers") {
		t.Errorf("exit status %d, %q\n%s", code, stderr, stdout)
	}
}

func TestCheckOfABadInstance(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := cli(t, newServer(t), "check", "my-project:europe-west1:other")
	if code != 1 || stderr != "" || !strings.Contains(stdout, ": FAILED\n") || !strings.Contains(stdout, "instanceDoesNotExist") || !strings.Contains(stdout, "\nmetadata ") {
		t.Errorf("exit status %d, %q\n%s", code, stderr, stdout)
	}
}

func TestFlagsReachTheDialer(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	code, stdout, stderr := cli(t, s, "check", "-json", "-iam", instance, "-ip-types", "private", "-quota-project", "billing", "-timeout", "20s", "-dns")
	if code != 0 || stderr != "" {
		t.Fatalf("exit status %d, %q\n%s", code, stderr, stdout)
	}
	var report struct {
		OK    bool
		Steps []struct{ Hop, Target, Detail string }
	}
	if err := json.Unmarshal([]byte(stdout), &report); err != nil || !report.OK {
		t.Fatalf("%v in %s", err, stdout)
	}
	tcp, login := 0, 0
	for _, step := range report.Steps {
		switch step.Hop {
		case "TCP":
			tcp++
			if step.Detail != "PRIVATE" {
				t.Errorf("got %+v", step)
			}
		case "login token":
			login++
		}
	}
	if tcp != 1 || login != 1 {
		t.Errorf("got %s", stdout)
	}
	for _, r := range s.Requests() {
		if r.Header.Get("X-Goog-User-Project") != "billing" || !strings.Contains(r.Header.Get("User-Agent"), "cloudsqlconn-cli") {
			t.Errorf("headers %v", r.Header)
		}
	}
}

func TestCredentialsOfTheFlags(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	auth := authtest.NewServer(s.Token(), s.LoginToken())
	defer auth.Close()
	file := filepath.Join(t.TempDir(), "key.json")
	if err := os.WriteFile(file, auth.ServiceAccount(), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, _ := cli(t, s, "check", "-credentials", file, instance)
	if code != 0 || !strings.Contains(stdout, authtest.Account+", from -credentials key.json") || strings.Contains(stdout, filepath.Dir(file)) {
		t.Errorf("exit status %d\n%s", code, stdout)
	}
	code, stdout, _ = cli(t, s, "check", "-credentials", file+"x", instance)
	if code != 1 || !strings.Contains(stdout, "open .../key.jsonx: ") || strings.Contains(stdout, filepath.Dir(file)) {
		t.Errorf("exit status %d\n%s", code, stdout)
	}
}

func TestTokensOfTheFlags(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	for _, tt := range []struct {
		args  []string
		code  int
		tells string
	}{
		{[]string{"-token", s.Token()}, exitOK, "PostgreSQL answers"},
		{[]string{"-token", s.Token(), "-login-token", s.LoginToken()}, exitOK, "login token"},
		{[]string{"-token", s.Token(), "-iam"}, exitFailed, "Invalid value at 'access_token'"}, // the kit wants another one
		{[]string{"-token", s.Token(), "-iam"}, exitFailed, "see -token and -login-token"},
		{[]string{"-token", s.Token() + "x"}, exitFailed, "401"},
		{[]string{"-login-token", s.LoginToken()}, exitUsage, "want -token too"},
		{[]string{"-token", s.Token(), "-credentials", "key.json"}, exitUsage, "want one of them"},
	} {
		code, stdout, stderr := cli(t, s, slices.Concat([]string{"check"}, tt.args, []string{instance})...)
		if code != tt.code || !strings.Contains(stdout+stderr, tt.tells) {
			t.Errorf("%q: exit status %d, %q\n%s", tt.args, code, stderr, stdout)
		}
		if strings.Contains(stdout+stderr, s.Token()) || strings.Contains(stdout+stderr, s.LoginToken()) {
			t.Errorf("%q: a token in %q\n%s", tt.args, stderr, stdout)
		}
	}
}

func TestWrongUse(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	for _, tt := range []struct{ args, want string }{
		{"", "Usage: cloudsqlconn COMMAND"},
		{"proxie", `unknown command "proxie"`},
		{"check", "want one instance"},
		{"check a b", "got 2"},
		{"check -no-such-flag x", "flag provided but not defined: -no-such-flag"},
		{"check -ip-types PUBIC x", "IP types"},
		{"check -timeout soon x", "-timeout"},
		{"check -timeout 0s x", "-timeout: want a positive duration"},
		{"check -timeout -1s x", "-timeout: want a positive duration"},
		{"check -credentials= x", "-credentials"},
		{"check -impersonate a/b x", "-impersonate"},
	} {
		code, stdout, stderr := cli(t, s, strings.Fields(tt.args)...)
		if code != 2 || stdout != "" || !strings.Contains(stderr, tt.want) {
			t.Errorf("%q: exit status %d, %q, %q, want %q", tt.args, code, stdout, stderr, tt.want)
		}
	}
	if n := len(s.Requests()); n != 0 {
		t.Errorf("%d requests", n)
	}
}

func TestErrorsAndHintsNameFlags(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	for _, args := range []string{"check db.example.com", "check -ip-types PSC " + instance, "proxy db.example.com", "check -timeout -1s -credentials= x", "proxy -token x -credentials y x"} {
		code, stdout, stderr := cli(t, s, strings.Fields(args)...)
		if all := stdout + stderr; code == 0 || strings.Contains(all, "With") || !strings.Contains(all, " -") {
			t.Errorf("%q: exit status %d, %q\n%s", args, code, stderr, stdout)
		}
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{"help": "  check   test", "version": "cloudsqlconn ", "--version": ", go1.", "-h": "COMMAND -h", "check -h": "-ip-types types", "proxy -h": "iam, ip-types, listen, ", "wait -h": "CLOUDSQLCONN_TIMEOUT"} {
		code, stdout, stderr := cli(t, newServer(t), strings.Fields(args)...)
		if code != 0 || stderr != "" || !strings.Contains(stdout, want) {
			t.Errorf("%q: exit status %d, %q, %q", args, code, stdout, stderr)
		}
	}
}

func TestAReportThatCannotBePrintedFails(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	p := program{stdout: broken{}, stderr: io.Discard, options: s.Options()}
	if code := p.run(t.Context(), []string{"check", instance}); code != 1 {
		t.Errorf("exit status %d", code)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestFlagsFromTheEnvironment(t *testing.T) {
	s := newServer(t)
	auth := authtest.NewServer(s.Token(), s.LoginToken())
	defer auth.Close()
	t.Setenv("CLOUDSQLCONN_CREDENTIALS_JSON", string(auth.ServiceAccount()))
	t.Setenv("CLOUDSQLCONN_IP_TYPES", "PRIVATE")
	code, stdout, stderr := cli(t, s, "check", "-credentials=", instance)
	if code != exitUsage || !strings.Contains(stderr, "-credentials-json") {
		t.Errorf("exit status %d, %q\n%s", code, stderr, stdout)
	}
	p := &program{stdout: io.Discard, stderr: io.Discard, options: []cloudsqlconn.Option{cloudsqlconn.WithDialFunc(s.DialContext), cloudsqlconn.WithAdminAPIEndpoint(s.URL())}}
	var out strings.Builder
	p.stdout = &out
	if code := p.run(t.Context(), []string{"check", instance}); code != exitOK || !strings.Contains(out.String(), authtest.Account) || strings.Contains(out.String(), "PUBLIC,") {
		t.Errorf("exit status %d\n%s", code, &out)
	}
	out.Reset()
	if code := p.run(t.Context(), []string{"check", "-ip-types", "PSC", instance}); code != exitFailed {
		t.Errorf("the flag does not stand over the variable: exit status %d\n%s", code, &out)
	}
	t.Setenv("CLOUDSQLCONN_TIMEOUT", "soon")
	code, _, stderr = cli(t, s, "check", instance)
	if code != exitUsage || !strings.Contains(stderr, "the variable CLOUDSQLCONN_TIMEOUT") {
		t.Errorf("exit status %d, %q", code, stderr)
	}
}

// The last account is the one that the credentials may impersonate, as with the
// Auth Proxy.
func TestAChainOfImpersonations(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	auth := authtest.NewServer(s.Token(), s.LoginToken())
	defer auth.Close()
	p := &program{stdout: io.Discard, stderr: io.Discard, options: []cloudsqlconn.Option{
		cloudsqlconn.WithDialFunc(s.DialContext), cloudsqlconn.WithAdminAPIEndpoint(s.URL()),
		cloudsqlconn.WithCredentialsJSON(auth.ServiceAccount()), cloudsqlconn.WithHTTPClient(auth.Client("iamcredentials.googleapis.com")),
	}}
	const target, second, first = "target@my-project.iam.gserviceaccount.com", "second@my-project.iam.gserviceaccount.com", "first@my-project.iam.gserviceaccount.com"
	_ = p.run(t.Context(), []string{"check", "-impersonate", target + "," + second + "," + first, instance})
	const accounts = "projects/-/serviceAccounts/"
	for _, c := range auth.Calls() {
		if c.Delegates == accounts+first+" "+accounts+second {
			return
		}
	}
	t.Errorf("got %+v", auth.Calls())
}
