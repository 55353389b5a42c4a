package localport

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/authtest"
)

// The IAM Credentials API is asked by both programs in the same way: for the same
// account, with the same delegates.
func TestImpersonation(t *testing.T) {
	const accounts, target, second, first = "projects/-/serviceAccounts/", "target@my-project.iam.gserviceaccount.com", "second@my-project.iam.gserviceaccount.com", "first@my-project.iam.gserviceaccount.com"
	for name, row := range map[string]struct {
		theirs, ours []string
		delegates    string
		login        bool
	}{
		"of one account": {[]string{"--impersonate-service-account", target}, []string{"-impersonate", target}, "", false},
		"by delegates": {
			[]string{"--impersonate-service-account", target + "," + second + "," + first}, []string{"-impersonate", target + "," + second + "," + first},
			accounts + first + " " + accounts + second, false,
		},
		"for IAM login": {[]string{"--impersonate-service-account", target, "--auto-iam-authn"}, []string{"-impersonate", target, "-iam"}, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			common := []string{"FILE", postgres + "?port=P1"}
			inBoth(t, slices.Concat(row.theirs, []string{"--credentials-file"}, common), slices.Concat(row.ours, []string{"-credentials"}, common), func(t *testing.T, p program, flags []string) {
				kit, _ := oneInstance(t)
				google := authtest.NewServer(kit.Token(), kit.LoginToken())
				t.Cleanup(google.Close)
				port := freePort(t)
				endpoint := map[string]string{theirs.name: "--sqladmin-api-endpoint", ours.name: "-endpoint"}[p.name]
				flags = fill(flags, "P1", port, "FILE", writeFile(t, string(google.ServiceAccount())))
				r := p.startBare(t, standInFor(t, "iamcredentials.googleapis.com", google.Config.Handler), append([]string{endpoint, kit.URL()}, flags...)...)
				r.wait(p.ready, 1)
				wantEcho(t, "127.0.0.1:"+port)
				want := map[string]bool{"sqlservice.admin": true, "sqlservice.login": row.login}
				got := map[string]bool{}
				for _, c := range google.Calls() {
					if !strings.HasPrefix(c.Who, "impersonated ") {
						continue
					}
					if c.Who != "impersonated "+target || c.Delegates != row.delegates {
						t.Errorf("got %+v", c)
					}
					got[c.Scope] = true
				}
				for scope, wanted := range want {
					if got[scope] != wanted {
						t.Errorf("tokens of the scopes %v", got)
					}
				}
				for _, request := range kit.Requests() {
					if request.Call == cloudsqltest.GenerateEphemeralCert && strings.Contains(string(request.Body), kit.LoginToken()) != row.login {
						t.Errorf("the login token: %s", request.Body)
					}
				}
			})
		})
	}
}

// standInFor returns variables with which Go programs on Linux find handler where an
// HTTPS server of Google's is: those of a proxy, which leads there and nowhere else,
// and of its CA.
func standInFor(t *testing.T, host string, handler http.Handler) (env []string) {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	cert, ca := certificateFor(t, host)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	server.StartTLS()
	t.Cleanup(server.Close)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Host != host+":443" {
			http.Error(w, "this leads nowhere but to "+host, http.StatusForbidden)
			return
		}
		to, err := new(net.Dialer).DialContext(r.Context(), "tcp", server.Listener.Addr().String())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer to.Close()
		from, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer from.Close()
		_, _ = io.WriteString(from, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { // ends with the connections
			_, _ = io.Copy(to, from)
			_ = to.Close()
		}()
		_, _ = io.Copy(from, to)
	}))
	t.Cleanup(proxy.Close)
	return []string{"HTTPS_PROXY=" + proxy.URL, "https_proxy=" + proxy.URL, "NO_PROXY=", "no_proxy=", "SSL_CERT_FILE=" + writeFile(t, ca)}
}

// certificateFor returns a certificate that has signed itself, and its PEM.
func certificateFor(t *testing.T, host string) (cert tls.Certificate, ca string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{host}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
