package localport

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/authtest"
)

// What the Admin API is asked, and with which credentials.
func TestCredentialsAndHeaders(t *testing.T) {
	external := func(kit *cloudsqltest.Server) string {
		tokens := authtest.NewServer(kit.Token(), kit.LoginToken())
		t.Cleanup(tokens.Close)
		return string(tokens.ExternalAccount(""))
	}
	for name, row := range map[string]struct {
		theirs, ours     []string
		theirEnv, ourEnv []string
		header, want     string
		login            bool
	}{
		"a file":          {theirs: []string{"--credentials-file", "FILE"}, ours: []string{"-credentials", "FILE"}},
		"a token":         {theirs: []string{"--token", "TOKEN"}, ours: []string{"-token", "TOKEN"}},
		"variables":       {theirEnv: []string{"CSQL_PROXY_QUOTA_PROJECT=billing"}, ourEnv: []string{"CLOUDSQLCONN_QUOTA_PROJECT=billing"}, header: "X-Goog-User-Project", want: "billing"},
		"JSON":            {theirs: []string{"--json-credentials", "JSON"}, ours: []string{"-credentials-json", "JSON"}},
		"IAM login":       {theirs: []string{"--json-credentials", "JSON", "--auto-iam-authn"}, ours: []string{"-credentials-json", "JSON", "-iam"}, login: true},
		"a quota project": {theirs: []string{"--quota-project", "billing"}, ours: []string{"-quota-project", "billing"}, header: "X-Goog-User-Project", want: "billing"},
		"a user agent":    {theirs: []string{"--user-agent", "shop/1"}, ours: []string{"-user-agent", "shop/1"}, header: "User-Agent", want: "shop/1"},
	} {
		t.Run(name, func(t *testing.T) {
			inBoth(t, append(row.theirs, postgres+"?port=P1"), append(row.ours, postgres+"?port=P1"), func(t *testing.T, p program, flags []string) {
				kit, _ := oneInstance(t)
				port := freePort(t)
				flags = fill(flags, "P1", port, "TOKEN", kit.Token(), "JSON", external(kit), "FILE", writeFile(t, external(kit)))
				endpoint := map[string]string{theirs.name: "--sqladmin-api-endpoint", ours.name: "-endpoint"}[p.name]
				env := map[string][]string{theirs.name: row.theirEnv, ours.name: row.ourEnv}[p.name]
				if row.theirs == nil || row.header != "" {
					env = append(env, p.variable("TOKEN")+"="+kit.Token())
				}
				r := p.startBare(t, env, append([]string{endpoint, kit.URL()}, flags...)...)
				r.wait(p.ready, 1)
				wantEcho(t, "127.0.0.1:"+port)
				for _, request := range kit.Requests() {
					if row.header != "" && !strings.Contains(request.Header.Get(row.header), row.want) {
						t.Errorf("%s: %s", request.Call, request.Header)
					}
					if request.Call == cloudsqltest.GenerateEphemeralCert && strings.Contains(string(request.Body), kit.LoginToken()) != row.login {
						t.Errorf("the login token: %s", request.Body)
					}
				}
			})
		})
	}
}

// Each token is for what it is meant for. The Auth Proxy then takes that for IAM login,
// which does not say when it expires, for one that has expired: INTEROP.md has what
// comes of that.
func TestATokenForEach(t *testing.T) {
	inBoth(t,
		[]string{"--token", "TOKEN", "--login-token", "LOGIN", "--auto-iam-authn", postgres + "?port=P1"},
		[]string{"-token", "TOKEN", "-login-token", "LOGIN", postgres + "?port=P1"},
		func(t *testing.T, p program, flags []string) {
			kit, _ := oneInstance(t)
			certificates := make(chan cloudsqltest.Request, 100)
			kit.OnRequest = func(r *http.Request) *cloudsqltest.Fault {
				if strings.HasSuffix(r.URL.Path, cloudsqltest.GenerateEphemeralCert) {
					body, _ := io.ReadAll(r.Body)
					select {
					case certificates <- cloudsqltest.Request{Header: r.Header, Body: body}:
					default: // the Auth Proxy tries again and again
					}
				}
				return nil
			}
			port := freePort(t)
			endpoint := map[string]string{theirs.name: "--sqladmin-api-endpoint", ours.name: "-endpoint"}[p.name]
			r := p.startBare(t, nil, append([]string{endpoint, kit.URL()}, fill(flags, "P1", port, "TOKEN", kit.Token(), "LOGIN", kit.LoginToken())...)...)
			r.wait(p.ready, 1)
			c := connect(t, "127.0.0.1:"+port)
			request := <-certificates
			if request.Header.Get("Authorization") != "Bearer "+kit.Token() || !strings.Contains(string(request.Body), kit.LoginToken()) {
				t.Errorf("%v, %s", request.Header, request.Body)
			}
			if p.name == ours.name && !echoes(c) {
				t.Error("no echo")
			}
		})
}

// IAM login of one instance of two. The Auth Proxy then asks for login tokens in
// the certificates of the other, too.
func TestIAMLoginOfOneInstance(t *testing.T) {
	inBoth(t,
		[]string{"--json-credentials", "JSON", postgres + "?port=P1&auto-iam-authn=true", mysql + "?port=P2"},
		[]string{"-credentials-json", "JSON", postgres + "?port=P1&iam", mysql + "?port=P2"},
		func(t *testing.T, p program, flags []string) {
			kit, p1, p2 := newKit(t), freePort(t), freePort(t)
			tokens := authtest.NewServer(kit.Token(), kit.LoginToken())
			t.Cleanup(tokens.Close)
			endpoint := map[string]string{theirs.name: "--sqladmin-api-endpoint", ours.name: "-endpoint"}[p.name]
			r := p.startBare(t, nil, append([]string{endpoint, kit.URL()}, fill(flags, "P1", p1, "P2", p2, "JSON", string(tokens.ExternalAccount("")))...)...)
			r.wait(p.ready, map[string]int{theirs.name: 1, ours.name: 2}[p.name])
			wantEcho(t, "127.0.0.1:"+p1)
			wantEcho(t, "127.0.0.1:"+p2)
			for _, request := range kit.Requests() {
				login := strings.Contains(string(request.Body), kit.LoginToken())
				if request.Call == cloudsqltest.GenerateEphemeralCert && login != (request.Instance == "my-project:my-pg" || p.name == theirs.name) {
					t.Errorf("%s: login token %v", request.Instance, login)
				}
			}
		})
}

// Nothing is asked before the first client.
func TestLazyRefresh(t *testing.T) {
	inBoth(t, []string{"--lazy-refresh", postgres + "?port=P1"}, []string{"-lazy", postgres + "?port=P1"},
		func(t *testing.T, p program, flags []string) {
			kit, port := newKit(t), freePort(t)
			r := p.start(t, kit, nil, fill(flags, "P1", port)...)
			r.wait(p.ready, 1)
			if n := len(kit.Requests()); n != 0 {
				t.Errorf("%d requests", n)
			}
			wantEcho(t, "127.0.0.1:"+port)
			if n := len(kit.Requests()); n != 2 {
				t.Errorf("%d requests", n)
			}
		})
}

// Both refuse an endpoint together with another universe.
func TestAnEndpointAndAUniverse(t *testing.T) {
	inBoth(t, []string{"--universe-domain", "x.example", postgres}, []string{"-universe", "x.example", postgres},
		func(t *testing.T, p program, flags []string) {
			kit := newKit(t)
			r := p.start(t, kit, nil, flags...)
			r.wait(map[string]string{theirs.name: "and --universe-domain", ours.name: "the endpoint is not in the universe"}[p.name], 1)
			if r.end() == 0 || len(kit.Requests()) != 0 {
				t.Errorf("exit status %d, %d requests", r.end(), len(kit.Requests()))
			}
		})
}

func TestSQLData(t *testing.T) {
	inBoth(t, []string{"--sql-data", "--sqldata-api-endpoint", "HOST", postgres + "?port=P1"}, []string{"-sql-data", "prefer", "-sql-data-endpoint", "HOST", postgres + "?port=P1"},
		func(t *testing.T, p program, flags []string) {
			kit := cloudsqltest.NewServer()
			t.Cleanup(kit.Close)
			service := kit.ServeSQLData(cloudsqltest.SQLDataConfig{TLS: true})
			in := kit.AddInstance(postgres, cloudsqltest.Instance{Handler: cloudsqltest.Echo, ListenOn3307: true, SQLData: true})
			port := freePort(t)
			r := p.start(t, kit, []string{"SSL_CERT_FILE=" + writeFile(t, service.CA())}, fill(flags, "P1", port, "HOST", service.Addr().String())...)
			r.wait(p.ready, 1)
			wantEcho(t, "127.0.0.1:"+port)
			if n := in.Counts().Streams; n == 0 {
				t.Error("no stream")
			}
		})
}
