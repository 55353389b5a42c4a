package cloudsqltest_test

import (
	"bytes"
	"compress/gzip"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

func TestSettingsSatisfyEveryConnector(t *testing.T) {
	for mode, names := range map[cloudsqltest.CAMode][]string{
		cloudsqltest.LegacyCA:    nil,
		cloudsqltest.GoogleCAS:   {"42cfcd3545f4.2imj07zrx20yw.europe-west1.sql.goog."},
		cloudsqltest.CustomerCAS: {"a.example.com", "b.example.com"},
	} {
		t.Run(string(mode), func(t *testing.T) {
			inMemory(t, cloudsqltest.Instance{CAMode: mode, DNSNames: names}, func(t *testing.T, c *client) {
				s := c.settings()
				ca := s.ServerCaCert
				s.ServerCaCert = sslCert{}
				want := settings{Kind: "sql#connectSettings", BackendType: "SECOND_GEN", DatabaseVersion: "POSTGRES_16", Region: "europe-west1", ServerCaMode: string(mode)}
				want.IPAddresses = append(want.IPAddresses, struct{ Type, IPAddress string }{"OUTGOING", "127.3.0.1"},
					struct{ Type, IPAddress string }{"PRIMARY", c.p.Addrs()[cloudsqlconn.PublicIP]},
					struct{ Type, IPAddress string }{"PRIVATE", c.p.Addrs()[cloudsqlconn.PrivateIP]})
				for _, name := range names {
					want.DNSName = names[0]
					want.DNSNames = append(want.DNSNames, struct{ Name, ConnectionType, DNSScope, RecordManager string }{name, "PUBLIC", "INSTANCE", "CLOUD_SQL_AUTOMATION"})
				}
				if !reflect.DeepEqual(s, want) {
					t.Errorf("got %+v, want %+v", s, want)
				}

				bundle := parse(t, ca.Cert)
				root := bundle[len(bundle)-1]
				wantCA := sslCert{
					Kind: "sql#sslCert", Cert: ca.Cert, Instance: "my-db",
					CertSerialNumber: root.SerialNumber.String(), CommonName: root.Subject.CommonName,
					CreateTime:      root.NotBefore.Format("2006-01-02T15:04:05.000Z"),
					ExpirationTime:  root.NotAfter.Format("2006-01-02T15:04:05.000Z"),
					Sha1Fingerprint: fmt.Sprintf("%x", sha1.Sum(root.Raw)),
				}
				if mode == cloudsqltest.LegacyCA {
					wantCA.CertSerialNumber = "0"
					wantCA.CommonName = "C=US,O=Google\\, Inc,CN=Cloud SQL Server CA,dnQualifier=" + fmt.Sprint(root.Subject.Names[0].Value)
				}
				if ca != wantCA || !root.IsCA {
					t.Errorf("got serverCaCert %+v, want %+v", ca, wantCA)
				}
			})
		})
	}
}

func TestPathsOfBothVersionsAndOfDomainScopedProjects(t *testing.T) {
	inMemory(t, cloudsqltest.Instance{}, func(t *testing.T, c *client) {
		c.s.AddInstance("example.com:my-project:europe-west1:my-db", cloudsqltest.Instance{})
		for _, version := range []string{"/sql/v1beta4", "/sql/v1", "/v1"} {
			for project, instance := range map[string]string{
				"my-project": "my-project:my-db", "example.com:my-project": "example.com:my-project:my-db", "example.com%3Amy-project": "example.com:my-project:my-db", "example.com%3amy-project": "example.com:my-project:my-db",
			} {
				path := version + "/projects/" + project + "/instances/my-db"
				var s settings
				c.call("GET", path+"/connectSettings?alt=json&prettyPrint=false&readTime=2000-01-01T00:00:00Z", nil, &s)
				var cert struct{ EphemeralCert sslCert }
				c.call("POST", path+":generateEphemeralCert?prettyPrint=true", map[string]string{"public_key": publicPEM(clientKey.Public())}, &cert)
				requests := c.s.Requests()
				for i, call := range []string{cloudsqltest.ConnectSettings, cloudsqltest.GenerateEphemeralCert} {
					if r := requests[len(requests)-2+i]; r.Instance != instance || r.Call != call || r.Status != 200 {
						t.Errorf("%s is kept as %+v", path, r)
					}
				}
			}
		}
	})
}

func TestErrorsAreTheAPIs(t *testing.T) {
	const (
		notFound  = "404 Not Found NOT_FOUND notFound"
		noTarget  = "404 The Cloud SQL instance does not exist. instanceDoesNotExist"
		noGet     = "403 boss::NOT_AUTHORIZED: Not authorized to access resource. Possibly missing permission cloudsql.instances.get on resource instances/my-db. forbidden"
		noConnect = "403 boss::NOT_AUTHORIZED: Not authorized to access resource. Possibly missing permission cloudsql.instances.connect on resource instances/my-db. forbidden"
		noKey     = "400 Invalid value at 'public_key': not PEM."
		badLife   = "400 Invalid value at 'valid_duration'."
	)
	request := func(fields ...string) string {
		body := map[string]string{"public_key": publicPEM(clientKey.Public())}
		for i := 0; i < len(fields); i += 2 {
			body[fields[i]] = fields[i+1]
		}
		return string(must(json.Marshal(body)))
	}
	ec := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	const elsewhere = "/sql/v1beta4/projects/my-project/instances/other"
	const foreign = "/sql/v1beta4/projects/other/instances/my-db"
	tests := []struct{ method, path, body, want string }{
		{"GET", "/", "", notFound},
		{"GET", "", "", notFound},
		{"GET", "/sql/v1beta4/projects", "", notFound},
		{"GET", "/sql/v2/projects/my-project/instances/my-db/connectSettings", "", notFound},
		{"GET", instancePath, "", notFound},
		{"GET", instancePath + "/connectSettings/", "", notFound},
		{"GET", "/sql/v1beta4/projects/my-project/instances//connectSettings", "", notFound},
		{"GET", "/sql/v1beta4/projects/a%2Fb/instances/my-db/connectSettings", "", notFound},
		{"GET", instancePath + ":connectSettings", "", notFound},
		{"POST", instancePath + "/connectSettings", "", notFound},
		{"PUT", instancePath + "/connectSettings", "", notFound},
		{"DELETE", instancePath + "/connectSettings", "", notFound},
		{"OPTIONS", instancePath + "/connectSettings", "", notFound},
		{"GET", instancePath + ":generateEphemeralCert", "", notFound},
		{"GET", instancePath + "/generateEphemeralCert", "", notFound},
		{"GET", elsewhere + "/connectSettings", "", noTarget},
		{"POST", elsewhere + ":generateEphemeralCert", request(), noTarget},
		{"GET", foreign + "/connectSettings", "", noGet},
		{"POST", foreign + ":generateEphemeralCert", request(), noConnect},
		{"POST", instancePath + ":generateEphemeralCert", "", "400 Invalid JSON payload received."},
		{"POST", instancePath + ":generateEphemeralCert", "{", "400 Invalid JSON payload received."},
		{"POST", instancePath + ":generateEphemeralCert", "[]", "400 Invalid JSON payload received."},
		{"POST", instancePath + ":generateEphemeralCert", "{}", noKey},
		{"POST", instancePath + ":generateEphemeralCert", request("public_key", "garbage"), noKey},
		{"POST", instancePath + ":generateEphemeralCert", request("public_key", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"), "400 Invalid value at 'public_key': not a public key."},
		{"POST", instancePath + ":generateEphemeralCert", request("public_key", publicPEM(ec.Public())), "400 Invalid value at 'public_key': not an RSA key."},
		{"POST", instancePath + ":generateEphemeralCert", request("access_token", "stolen"), "400 Invalid value at 'access_token'."},
		{"POST", instancePath + ":generateEphemeralCert", strings.Repeat(" ", 1<<20) + request(), "400 The request body cannot be read: http: request body too large"},
	}
	for _, life := range []string{"3600", "1h", "-1s", "0s", "1e3s", "s", "3600000ms", "99999999999999s"} {
		tests = append(tests, struct{ method, path, body, want string }{"POST", instancePath + ":generateEphemeralCert", request("validDuration", life), badLife})
	}
	inMemory(t, cloudsqltest.Instance{}, func(t *testing.T, c *client) {
		for _, tt := range tests {
			resp, body, err := c.send(t.Context(), tt.method, tt.path, tt.body)
			wantNil(t, err)
			if got := envelope(body); got != tt.want || fmt.Sprint(resp.StatusCode) != tt.want[:3] || resp.Header.Get("Content-Type") != "application/json; charset=UTF-8" {
				t.Errorf("%s %s %.80q: got %s, %s: %s; want %s", tt.method, tt.path, tt.body, resp.Status, resp.Header, body, tt.want)
			}
			if r := c.s.Requests(); r[len(r)-1].Status != resp.StatusCode {
				t.Errorf("%s %s is kept with status %d", tt.method, tt.path, r[len(r)-1].Status)
			}
		}
	})
}

// Google's library for Java compresses what it sends.
func TestCompressedBodiesAreRead(t *testing.T) {
	inMemory(t, cloudsqltest.Instance{}, func(t *testing.T, c *client) {
		request := must(json.Marshal(map[string]string{"public_key": publicPEM(clientKey.Public())}))
		compress := func(text []byte) string {
			var b bytes.Buffer
			w := gzip.NewWriter(&b)
			_ = must(w.Write(text))
			wantNil(t, w.Close())
			return b.String()
		}
		var seen []byte
		c.s.OnRequest = func(r *http.Request) *cloudsqltest.Fault {
			seen = must(io.ReadAll(r.Body))
			return nil
		}
		for _, tt := range []struct {
			body string
			want int
		}{
			{compress(request), 200},
			{string(request), 400},
			{compress(request)[:50], 400},
			{compress(bytes.Repeat([]byte(" "), 2<<20)), 400}, // 2 kB
		} {
			req := must(http.NewRequestWithContext(t.Context(), "POST", c.s.URL()+instancePath+":generateEphemeralCert", strings.NewReader(tt.body)))
			req.Header.Set("Authorization", "Bearer "+c.s.Token())
			req.Header.Set("Content-Encoding", "gzip")
			resp, err := c.s.Client().Do(req)
			wantNil(t, err)
			resp.Body.Close()
			if resp.StatusCode != tt.want {
				t.Errorf("%.20q: got status %d, want %d", tt.body, resp.StatusCode, tt.want)
			}
			if r := c.s.Requests(); tt.want == 200 && (!bytes.Equal(seen, request) || !bytes.Equal(r[len(r)-1].Body, request)) {
				t.Errorf("OnRequest saw %q, kept is %q", seen, r[len(r)-1].Body)
			}
		}
	})
}

func TestOnlyTheTokenIsAccepted(t *testing.T) {
	inMemory(t, cloudsqltest.Instance{}, func(t *testing.T, c *client) {
		for authorization, want := range map[string]int{
			"":                           401,
			"Bearer":                     401,
			"Bearer ":                    401,
			c.s.Token():                  401,
			"Bearer " + c.s.LoginToken(): 401,
			"Basic " + c.s.Token():       401,
			"Bearer " + c.s.Token():      200,
			"bearer " + c.s.Token():      200,
		} {
			req := must(http.NewRequestWithContext(t.Context(), "GET", c.s.URL()+instancePath+"/connectSettings", nil))
			req.Header.Set("Authorization", authorization)
			resp, err := c.s.Client().Do(req)
			wantNil(t, err)
			resp.Body.Close()
			if resp.StatusCode != want {
				t.Errorf("%q: got status %d, want %d", authorization, resp.StatusCode, want)
			}
			if challenge := resp.Header.Get("WWW-Authenticate"); (want == 401) != strings.HasPrefix(challenge, "Bearer ") {
				t.Errorf("%q: got the challenge %q", authorization, challenge)
			}
		}
	})
}

func TestClientCertificatesLiveAsLongAsTheyShould(t *testing.T) {
	for _, tt := range []struct {
		ttl           time.Duration
		validDuration []string
		want          time.Duration
	}{
		{0, nil, time.Hour},
		{0, []string{"validDuration", "86400s"}, 24 * time.Hour},
		{0, []string{"validDuration", "90.000000001s"}, 90 * time.Second},
		{5 * time.Minute, nil, 5 * time.Minute},
		{5 * time.Minute, []string{"validDuration", "86400s"}, 5 * time.Minute},
		{-time.Minute, []string{"validDuration", "86400s"}, -time.Minute},
	} {
		t.Run(fmt.Sprint(tt.ttl, tt.validDuration), func(t *testing.T) {
			inMemory(t, cloudsqltest.Instance{CertTTL: tt.ttl}, func(t *testing.T, c *client) {
				leaf := c.certificate(tt.validDuration...).Leaf
				if got := time.Until(leaf.NotAfter); got != tt.want {
					t.Errorf("the certificate is good for %v, want %v", got, tt.want)
				}
				if !leaf.NotBefore.Before(leaf.NotAfter) || leaf.Subject.CommonName != "Google Cloud SQL Client" {
					t.Errorf("the certificate is for %q, good from %v", leaf.Subject.CommonName, leaf.NotBefore)
				}
			})
		})
	}
}

func TestLoginTokenIsRememberedInTheCertificate(t *testing.T) {
	t.Parallel()
	tokens := make(chan string, 1)
	s := cloudsqltest.NewServer()
	defer s.Close()
	c := newClient(t, s, cloudsqltest.Instance{Handler: func(c net.Conn) { tokens <- c.(*cloudsqltest.Conn).Token() }})
	login := withCertificate(c.certificate("access_token", s.LoginToken()), c.config())
	login.ClientSessionCache, login.ServerName = tls.NewLRUClientSessionCache(1), "my-db"
	for _, tt := range []struct {
		config *tls.Config
		want   string
	}{{c.config(), ""}, {login, s.LoginToken()}, {login, s.LoginToken()}} {
		conn, err := c.connect(tt.config)
		wantNil(t, err)
		_, _ = conn.Read(make([]byte, 1)) // takes in the session ticket, too
		_ = conn.Close()
		if got := <-tokens; got != tt.want {
			t.Errorf("the handler got the token %q, want %q", got, tt.want)
		}
	}
	c.wantCounts(cloudsqltest.Counts{Accepted: 3, Handshakes: 3, Resumed: 1})
}

func TestAnyKeyCanBeAllowed(t *testing.T) {
	inMemory(t, cloudsqltest.Instance{}, func(t *testing.T, c *client) {
		c.s.AllowAnyKey = true
		cert := c.certificateFor(must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)))
		defer c.mustConnect(withCertificate(cert, c.config())).Close()

		// A key that signs nothing is good for nothing.
		body := string(must(json.Marshal(map[string]string{"public_key": publicPEM(must(ecdh.X25519().GenerateKey(rand.Reader)).Public())})))
		_, answer, err := c.send(t.Context(), "POST", instancePath+":generateEphemeralCert", body)
		wantNil(t, err)
		if got := envelope(answer); got != "400 Invalid value at 'public_key': cannot be signed." {
			t.Errorf("got %s", answer)
		}
	})
}
