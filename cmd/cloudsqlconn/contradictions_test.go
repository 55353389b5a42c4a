package main

import (
	"io"
	"strings"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/authtest"
)

// Flags and parameters that contradict each other, or of which one would have no
// effect, are refused before anything is asked or listened for.
func TestFlagsThatContradictEachOther(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	for _, tt := range []struct{ args, want string }{
		{"check -credentials a -credentials-json {} I", "-credentials and -credentials-json: want one of them"},
		{"check -credentials a -token t I", "-credentials and -token: want one of them"},
		{"check -token t -login-token t -impersonate sa@example.com I", "-token and -login-token and -impersonate: want one of them"},
		{"check -login-token t I", "-login-token: want -token too"},
		{"proxy -iam=false -token t -login-token t I", "-login-token and -iam=false: want one of them"},
		{"check -endpoint https://sqladmin.googleapis.com -universe x.example I", "-endpoint and -universe: the endpoint is not in the universe"},
		{"check -unlisted-domain I", "-unlisted-domain: want -dns too"},
		{"proxy I?port=1&listen=/run/b", "port and listen: want one of them"},
		{"proxy I?port=5433 J?listen=127.0.0.1:5433", "127.0.0.1:5433 is the address of " + instance},
		{"proxy -listen 127.0.0.1:0 I J", "-listen is for one instance, got 2"},
		{"proxy -socket-mode 0660 I", "want -listen /path too"},
		{"proxy I?socket-mode=0660", "want listen=/path too"},
		{"proxy -quiet -log-level debug I", "-quiet and -log-level: want one of them"},
		{"proxy -quitquitquit I", "-quitquitquit: want -health too"},

		{"check -sql-data-endpoint host I", "-sql-data-endpoint: want -sql-data prefer or only too"},
		{"check -sql-data never -sql-data-endpoint host I", "-sql-data-endpoint: want -sql-data prefer or only too"},
		{"proxy -sql-data-endpoint host I J?sql-data=never", "-sql-data-endpoint: want -sql-data prefer or only too"},
		{"proxy -sql-data prefer -sql-data-endpoint host I?sql-data=never", "-sql-data-endpoint: want -sql-data prefer or only too"},
		{"check -sql-data only -ip-types PUBLIC I", "-ip-types: it has no effect with -sql-data only"},
		{"proxy -ip-types PUBLIC I?sql-data=only", "-ip-types: it has no effect with -sql-data only"},
		{"proxy I?sql-data=only&ip-types=PUBLIC", instance + ": ip-types: it has no effect with -sql-data only"},
		{"proxy -sql-data only I?ip-types=PUBLIC", instance + ": ip-types: it has no effect with -sql-data only"},
		{"check -sql-data only -dns -unlisted-domain I", "-unlisted-domain: it has no effect with -sql-data only"},
		{"check -sql-data only -token t -login-token t I", "-login-token: it has no effect with -sql-data only"},

		{"wait -timeout -1s", "-timeout: want a positive duration"},
		{"wait -health /run/x", "-health: want host:port"},
		{"wait -health 9090", "-health: want host:port"},
	} {
		args := strings.Fields(strings.NewReplacer(" I", " "+instance, " J", " "+otherInstance).Replace(tt.args))
		code, stdout, stderr := cli(t, s, args...)
		if code != exitUsage || stdout != "" || !strings.Contains(stderr, tt.want) {
			t.Errorf("%q: exit status %d, %q, want %q\n%s", tt.args, code, stderr, tt.want, stdout)
		}
	}
	if n := len(s.Requests()); n != 0 {
		t.Errorf("%d requests", n)
	}
}

// The other instances may use what one of them does not.
func TestFlagsForSomeOfTheInstances(t *testing.T) {
	t.Parallel()
	s := cloudsqltest.NewServer()
	defer s.Close()
	s.ServeSQLData(cloudsqltest.SQLDataConfig{})
	s.AddInstance(instance, cloudsqltest.Instance{SQLData: true})
	s.AddInstance(otherInstance, cloudsqltest.Instance{})
	p := startProxy(t, s, "-sql-data-endpoint", "host", "-ip-types", "PRIVATE", instance+"?port=0&sql-data=only", otherInstance+"?port=0")
	for range 2 {
		wantEcho(t, p.listening())
	}
	p.wantEnd(exitOK)
}

// A token can log in where a parameter asks for that, and be exchanged for those of
// another account.
func TestTokensLogInWhereverThatIsAskedFor(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.SetTokens("token-for-both", "token-for-both")
	p := startProxyWith(t, []cloudsqlconn.Option{cloudsqlconn.WithAdminAPIEndpoint(s.URL()), cloudsqlconn.WithDialFunc(s.DialContext)},
		"-token", s.Token(), instance+"?port=0&iam")
	p.listening()
	p.wantEnd(exitOK)
	logins := 0
	for _, r := range s.Requests() {
		if strings.Contains(string(r.Body), "access_token") {
			logins++
		}
	}
	if logins == 0 {
		t.Error("no certificate for an IAM login")
	}

	auth := authtest.NewServer(s.Token(), s.LoginToken())
	defer auth.Close()
	var out strings.Builder
	code := (&program{stdout: &out, stderr: io.Discard, options: []cloudsqlconn.Option{
		cloudsqlconn.WithAdminAPIEndpoint(s.URL()), cloudsqlconn.WithDialFunc(s.DialContext), cloudsqlconn.WithHTTPClient(auth.Client()),
	}}).run(t.Context(), []string{"check", "-token", authtest.CloudToken, "-iam", "-impersonate", "sa@example.com", instance})
	if code != exitOK || !strings.Contains(out.String(), "login token") {
		t.Errorf("exit status %d\n%s", code, &out)
	}
}
