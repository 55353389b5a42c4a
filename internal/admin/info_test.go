package admin_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/engine"
	"github.com/cloudsqlconn/cloudsqlconn/internal/tlsverify"
)

// settings answers connectSettings with alterations of the example.
func settings(alter ...object) *api { return &api{settings: status(200, settingsJSON(alter...))} }

func caCert(pem any) object { return object{"serverCaCert": object{"cert": pem}} }

func TestExampleOfTheProtocol(t *testing.T) {
	t.Parallel()
	a := &api{}
	info := mustFetch(t, a)
	if info.DatabaseVersion != "POSTGRES_16" || !info.MetadataExchange {
		t.Errorf("DatabaseVersion is %q, MetadataExchange %v", info.DatabaseVersion, info.MetadataExchange)
	}
	wantAddrs(t, info, admin.Addrs{
		admin.Public:  {"203.0.113.10"},
		admin.Private: {"10.1.2.3"},
		admin.PSC:     {"42cfcd3545f4.2imj07zrx20yw.us-central1.sql.goog"},
	})
	if cn := info.Certificate.Subject.CommonName; cn != "Google Cloud SQL Client" {
		t.Errorf("Certificate is %q's", cn)
	}
}

func wantAddrs(t *testing.T, info *admin.Info, want admin.Addrs) {
	t.Helper()
	if !reflect.DeepEqual(info.Addrs, want) {
		t.Errorf("Addrs are %v, want %v", info.Addrs, want)
	}
}

func TestUnusableMetadata(t *testing.T) {
	t.Parallel()
	const reply = "the Admin API's reply is unusable: connectSettings"
	garbage := block("CERTIFICATE", []byte("no certificate"))
	for _, tt := range []struct{ name, body, want string }{
		{"null", `null`, reply + " is null"},
		{"empty object", `{}`, reply + ".serverCaCert.cert is empty"},
		{"array", `[]`, reply + " has the wrong type: json: cannot unmarshal array into Go value of type sqladmin.ConnectSettings"},
		{"string", `"settings"`, reply + " has the wrong type: json: cannot unmarshal string into Go value of type sqladmin.ConnectSettings"},
		{"field of another type", settingsJSON(object{"region": 5}), reply + ".region has the wrong type: json: cannot unmarshal number into Go struct field ConnectSettings.region of type string"},
		{"address of another type", settingsJSON(object{"ipAddresses": []object{{"ipAddress": true}}}), reply + ".ipAddresses.ipAddress has the wrong type"},
		{"serverCaCert null", settingsJSON(object{"serverCaCert": nil}), reply + ".serverCaCert.cert is empty"},
		{"serverCaCert empty", settingsJSON(object{"serverCaCert": object{}}), reply + ".serverCaCert.cert is empty"},
		{"cert null", settingsJSON(caCert(nil)), reply + ".serverCaCert.cert is empty"},
		{"cert empty", settingsJSON(caCert("")), reply + ".serverCaCert.cert is empty"},
		{"cert blank", settingsJSON(caCert(" \n")), reply + ".serverCaCert.cert is empty"},
		{"cert not PEM", settingsJSON(caCert("no PEM")), reply + ".serverCaCert.cert has no readable PEM certificate"},
		{"cert truncated", settingsJSON(caCert(serverCA.pem[:200])), reply + ".serverCaCert.cert has no readable PEM certificate"},
		{"cert garbage", settingsJSON(caCert(garbage)), reply + ".serverCaCert.cert has no readable PEM certificate: x509: malformed certificate"},
		{"cert twice garbage", settingsJSON(caCert(garbage + garbage)), reply + ".serverCaCert.cert has no readable PEM certificate: x509: malformed certificate x509: malformed certificate"},
		{"cert a key", settingsJSON(caCert(block("PUBLIC KEY", serverCA.cert.RawSubjectPublicKeyInfo))), reply + ".serverCaCert.cert has no readable PEM certificate"},
		{"cert of another PEM type", settingsJSON(caCert(block("X509 CRL", serverCA.cert.Raw))), reply + ".serverCaCert.cert has no readable PEM certificate"},
		{"wrong region", settingsJSON(object{"region": "europe-west1"}), "the instance is in region europe-west1, not in us-central1; use my-project:europe-west1:my-db"},
		{"first generation", settingsJSON(object{"backendType": "FIRST_GEN"}), "the instance is of the first generation (backend type FIRST_GEN), which cannot be connected to like this"},
		{"something new", settingsJSON(object{"backendType": "THIRD_GEN"}), "the instance's backend type is THIRD_GEN; only SECOND_GEN instances can be connected to"},
		{"external", settingsJSON(object{"backendType": "EXTERNAL"}), "the instance stands for a database server outside Cloud SQL (backend type EXTERNAL), which Cloud SQL does not lead to"},
		{"region of many lines", settingsJSON(object{"region": "a\r\n\x1b[31mb"}), "the instance is in region a [31mb, not in us-central1; use my-project:a [31mb:my-db"},
		{"endless region", settingsJSON(object{"region": strings.Repeat("x", 100_000)}), "the instance is in region xxx"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := &api{settings: status(200, tt.body)}
			err := fetchError(t.Context(), t, newClient(t, a), false)
			if !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("error is %q, want %q", err, tt.want)
			}
			if !admin.Terminal(err) {
				t.Errorf("%v is not terminal", err)
			}
			want := 1
			if _, ok := errors.AsType[*admin.ReplyError](err); ok {
				want = 2 // it may have been a proxy's
			}
			if n := len(a.received(connectSettings)); n != want {
				t.Errorf("%d calls, want %d", n, want)
			}
		})
	}
}

func TestUnusableCertificate(t *testing.T) {
	t.Parallel()
	const (
		reply = "the Admin API's reply is unusable: generateEphemeralCert"
		cert  = reply + ".ephemeralCert.cert "
	)
	for _, tt := range []struct{ name, body, want string }{
		{"null", `null`, reply + " is null"},
		{"empty object", `{}`, cert + "is empty"},
		{"array", `[]`, reply + " has the wrong type"},
		{"ephemeralCert null", `{"ephemeralCert":null}`, cert + "is empty"},
		{"ephemeralCert empty", `{"ephemeralCert":{}}`, cert + "is empty"},
		{"ephemeralCert a string", `{"ephemeralCert":"x"}`, reply + ".ephemeralCert has the wrong type"},
		{"cert empty", certJSON(""), cert + "is empty"},
		{"cert blank", certJSON(" \n"), cert + "is empty"},
		{"cert not PEM", certJSON("no PEM"), cert + "is not PEM"},
		{"cert garbage", certJSON(block("CERTIFICATE", []byte("no certificate"))), cert + "is not a certificate: x509: malformed certificate"},
		{"cert a key", certJSON(block("PUBLIC KEY", serverCA.cert.RawSubjectPublicKeyInfo)), cert + "is not a certificate"},
		{"cert of another PEM type", certJSON(block("X509 CRL", parse(clientCert(clientKey.Public(), time.Hour)).Raw)), cert + "is not a certificate"},
		{"cert without expiry", certJSON(clientCA.sign(&x509.Certificate{NotAfter: time.Time{}}, clientKey.Public())), cert + "has no expiry"},
		{"cert for another key", certJSON(clientCert(newKey().Public(), time.Hour)), cert + "is for another key than the one that was sent"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := &api{cert: status(200, tt.body)}
			err := fetchError(t.Context(), t, newClient(t, a), false)
			if !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("error is %q, want %q", err, tt.want)
			}
			var reply *admin.ReplyError
			if !errors.As(err, &reply) || !admin.Terminal(err) {
				t.Errorf("%v is no terminal ReplyError", err)
			}
			if n := len(a.received(ephemeralCert)); n != 2 {
				t.Errorf("%d calls, want 2", n)
			}
		})
	}
}

func TestOneReplyWithoutSenseIsSurvived(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		once := func(r *http.Request) (*http.Response, error) {
			if asked.Add(1) <= 2 { // one of each
				return status(200, "{}")(r)
			}
			return genuine(r)
		}
		a := &api{settings: once, cert: once}
		mustFetch(t, a)
		a.wantCalls(t, 2, 2)
	})
}

func TestSQLServerHasNoIAMLogin(t *testing.T) {
	t.Parallel()
	a := settings(object{"databaseVersion": "SQLSERVER_2022_STANDARD"})
	err := fetchError(t.Context(), t, newClient(t, a), true)
	if want := "IAM login needs PostgreSQL or MySQL; the instance runs SQLSERVER_2022_STANDARD"; err.Error() != want {
		t.Errorf("error is %q, want %q", err, want)
	}
	for _, e := range engine.All {
		if e.HasIAM() && !strings.Contains(strings.ToUpper(err.Error()), string(e)) {
			t.Errorf("%q does not tell of %s", err, e)
		}
	}
	var cfg *admin.ConfigError
	if !errors.As(err, &cfg) || !admin.Terminal(err) {
		t.Errorf("%v is no terminal ConfigError", err)
	}
	if n := len(a.received(ephemeralCert)); n != 0 {
		t.Errorf("%d certificates were asked for", n)
	}
	mustFetch(t, a)
}

func TestMetadataThatLacksMuch(t *testing.T) {
	t.Parallel()
	for _, version := range []any{nil, "MYSQL_9_7", "SQL_DATABASE_VERSION_UNSPECIFIED"} {
		info := mustFetch(t, settings(object{
			"kind": nil, "backendType": nil, "databaseVersion": version, "region": nil, "ipAddresses": nil, "pscEnabled": nil,
			"serverCaMode": "A_MODE_OF_THE_FUTURE", "dnsName": nil, "dnsNames": nil, "mdxProtocolSupport": nil, "unknown": object{"field": 1},
		}))
		if want, _ := version.(string); info.DatabaseVersion != want || info.MetadataExchange {
			t.Errorf("DatabaseVersion is %q, MetadataExchange %v", info.DatabaseVersion, info.MetadataExchange)
		}
		wantAddrs(t, info, admin.Addrs{})
		if name := info.TLS("", false).ServerName; name != "" {
			t.Errorf("ServerName is %q", name)
		}
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	ip := func(kind, ip string) object { return object{"type": kind, "ipAddress": ip} }
	psc := func(name string) object {
		return object{"name": name, "connectionType": "PRIVATE_SERVICE_CONNECT", "dnsScope": "INSTANCE"}
	}
	type list = []any
	for _, tt := range []struct {
		name     string
		ips      list
		psc      bool
		dnsName  string
		dnsNames list
		want     admin.Addrs
	}{
		{name: "none", want: admin.Addrs{}},
		{name: "null entries", ips: list{nil, ip("PRIMARY", "203.0.113.1"), nil}, psc: true, dnsNames: list{nil, psc("a.sql-psc.goog."), nil},
			want: admin.Addrs{admin.Public: {"203.0.113.1"}, admin.PSC: {"a.sql-psc.goog"}}},
		{name: "outgoing and others", ips: list{ip("OUTGOING", "203.0.113.1"), ip("MIGRATED_1ST_GEN", "203.0.113.2"), ip("", "203.0.113.3"), ip("primary", "203.0.113.4")},
			want: admin.Addrs{}},
		{name: "without address", ips: list{ip("PRIMARY", ""), object{"type": "PRIVATE"}}, want: admin.Addrs{}},
		{name: "the last one counts", ips: list{ip("PRIMARY", "203.0.113.1"), ip("PRIVATE", "10.0.0.1"), ip("PRIMARY", "203.0.113.2"), ip("PRIVATE", "10.0.0.2"), ip("PRIMARY", "")},
			want: admin.Addrs{admin.Public: {"203.0.113.2"}, admin.Private: {"10.0.0.2"}}},
		{name: "past their time", ips: list{
			ip("PRIMARY", "203.0.113.1"), object{"type": "PRIMARY", "ipAddress": "203.0.113.2", "timeToRetire": "2020-01-01T00:00:00.5Z"},
			object{"type": "PRIVATE", "ipAddress": "10.0.0.1", "timeToRetire": "2020-01-01T00:00:00Z"},
			object{"type": "PRIVATE", "ipAddress": "10.0.0.2", "timeToRetire": "2120-01-01T00:00:00Z"},
		}, want: admin.Addrs{admin.Public: {"203.0.113.1", "203.0.113.2"}, admin.Private: {"10.0.0.2", "10.0.0.1"}}},
		{name: "nothing but what is past its time", ips: list{object{"type": "PRIMARY", "ipAddress": "203.0.113.2", "timeToRetire": "2020-01-01T00:00:00Z"}},
			want: admin.Addrs{admin.Public: {"203.0.113.2"}}},
		{name: "a time that is none", ips: list{object{"type": "PRIMARY", "ipAddress": "203.0.113.2", "timeToRetire": "soon"}},
			want: admin.Addrs{admin.Public: {"203.0.113.2"}}},
		{name: "PSC names without PSC", dnsName: "a.sql.goog.", dnsNames: list{psc("b.sql.goog.")}, want: admin.Addrs{}},
		{name: "PSC names", psc: true, dnsName: "legacy.sql.goog.", dnsNames: list{psc("b.sql.goog."), psc("y.sql-psc.goog."), psc("a.sql.goog"), psc("X.SQL-PSC.GOOG"), psc("z.sql-psc.goog.example.com")},
			want: admin.Addrs{admin.PSC: {"y.sql-psc.goog", "X.SQL-PSC.GOOG", "b.sql.goog", "a.sql.goog", "z.sql-psc.goog.example.com"}}},
		{name: "PSC names of others", psc: true, dnsName: "legacy.sql.goog.", dnsNames: list{
			object{"name": "public.sql.goog.", "connectionType": "PUBLIC", "dnsScope": "INSTANCE"},
			object{"name": "private.sql.goog.", "connectionType": "PRIVATE_SERVICES_ACCESS", "dnsScope": "INSTANCE"},
			object{"name": "cluster.sql.goog.", "connectionType": "PRIVATE_SERVICE_CONNECT", "dnsScope": "CLUSTER"},
			object{"name": "bare.sql.goog."},
			psc(""),
		}, want: admin.Addrs{admin.PSC: {"legacy.sql.goog"}}},
		{name: "PSC without any name", psc: true, want: admin.Addrs{}},
		{name: "PSC names that are the root", psc: true, dnsName: ".", dnsNames: list{psc("."), psc("a.sql.goog.")},
			want: admin.Addrs{admin.PSC: {"a.sql.goog"}}},
		{name: "legacy name that is the root", psc: true, dnsName: ".", dnsNames: list{psc(".")}, want: admin.Addrs{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			wantAddrs(t, mustFetch(t, settings(object{"ipAddresses": tt.ips, "pscEnabled": tt.psc, "dnsName": tt.dnsName, "dnsNames": tt.dnsNames})), tt.want)
		})
	}
}

func TestManyPSCNamesKeepTheirOrder(t *testing.T) {
	t.Parallel()
	var names []object
	var first, then []string
	for i := range 40 {
		name := fmt.Sprintf("%d.sql.goog", (i*17)%40)
		if i%3 == 0 {
			name = fmt.Sprintf("%d.sql-psc.goog", (i*17)%40)
			first = append(first, name)
		} else {
			then = append(then, name)
		}
		names = append(names, object{"name": name + ".", "connectionType": "PRIVATE_SERVICE_CONNECT", "dnsScope": "INSTANCE"})
	}
	info := mustFetch(t, settings(object{"ipAddresses": nil, "dnsNames": names}))
	wantAddrs(t, info, admin.Addrs{admin.PSC: append(first, then...)})
}

func TestServerName(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		dnsName  any
		dnsNames any
		want     string
	}{
		{"newer field", "old.sql.goog.", []object{nil, {"name": ""}, {"name": "new.sql.goog."}}, "new.sql.goog"},
		{"legacy field", "old.sql.goog.", nil, "old.sql.goog"},
		{"without dot", "old.sql.goog", []object{}, "old.sql.goog"},
		{"none", nil, nil, ""},
	} {
		info := mustFetch(t, settings(object{"dnsName": tt.dnsName, "dnsNames": tt.dnsNames}))
		if got := info.TLS("", false).ServerName; got != tt.want {
			t.Errorf("%s: ServerName is %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestTLSConfig(t *testing.T) {
	t.Parallel()
	info := mustFetch(t, &api{})
	cfg := info.TLS("", false)
	if cfg.MinVersion != tls.VersionTLS13 {
		t.Errorf("MinVersion is %s", tls.VersionName(cfg.MinVersion))
	}
	if cfg != info.TLS("", false) || cfg != info.TLS(cfg.ServerName, false) {
		t.Error("a configuration for every connection")
	}
	other := mustFetch(t, &api{})
	if cfg.ClientSessionCache == nil || cfg.ClientSessionCache == other.TLS("", false).ClientSessionCache {
		t.Error("an Info has no session cache of its own")
	}

	theirs := [][]byte{[]byte("the name of another CA")}
	for _, req := range []*tls.CertificateRequestInfo{{}, {AcceptableCAs: theirs, SignatureSchemes: []tls.SignatureScheme{tls.Ed25519}}} {
		cert, err := cfg.GetClientCertificate(req)
		if err != nil {
			t.Fatal(err)
		}
		if len(cert.Certificate) != 1 || !bytes.Equal(cert.Certificate[0], info.Certificate.Raw) || cert.PrivateKey != clientKey || cert.Leaf != info.Certificate {
			t.Errorf("client certificate is %+v", cert)
		}
	}
}

func TestTLSConfigOfAnotherName(t *testing.T) {
	t.Parallel()
	info := mustFetch(t, &api{})
	cfg := info.TLS("db.example.com", false)
	if cfg.ServerName != "db.example.com" || info.TLS("", false).ServerName == "db.example.com" {
		t.Errorf("ServerNames are %q and %q", cfg.ServerName, info.TLS("", false).ServerName)
	}
	if cfg.ClientSessionCache != info.TLS("", false).ClientSessionCache {
		t.Error("two session caches in one Info")
	}
	if cfg.MinVersion != tls.VersionTLS13 || cfg.GetClientCertificate == nil {
		t.Errorf("configuration is %+v", cfg)
	}
}

func TestServerIsVerified(t *testing.T) {
	t.Parallel()
	leaf := func(ca *authority, commonName string, names ...string) []*x509.Certificate {
		return []*x509.Certificate{parse(ca.sign(&x509.Certificate{
			Subject:     pkix.Name{CommonName: commonName},
			DNSNames:    names,
			NotBefore:   time.Now().Add(-time.Hour),
			NotAfter:    time.Now().Add(time.Hour),
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}, newKey().Public()))}
	}
	second := newCA("the next CA")
	bundle := serverCA.pem + "comments stand between\n" + block("CERTIFICATE", []byte("garbage")) + block("X509 CRL", newCA("a CRL").cert.Raw) + second.pem
	info := mustFetch(t, settings(caCert(bundle), object{"dnsName": "old.sql.goog.", "customSubjectAlternativeNames": []string{"db.acme.example"}}))
	plain, domain, lenient := info.TLS("", false), info.TLS("db.example.com", false), info.TLS("db.example.com", true)
	for _, tt := range []struct {
		name  string
		cfg   *tls.Config
		certs []*x509.Certificate
		good  bool
	}{
		{"common name", plain, leaf(serverCA, "my-project:my-db"), true},
		{"CA after garbage", plain, leaf(second, "my-project:my-db"), true},
		{"name of the newer field", plain, leaf(serverCA, "", "42cfcd3545f4.2imj07zrx20yw.us-central1.sql.goog"), true},
		{"name of the legacy field", plain, leaf(serverCA, "", "old.sql.goog"), true},
		{"dialled name", domain, leaf(serverCA, "", "db.example.com"), true},
		{"another name of the instance than the dialled one", domain, leaf(serverCA, "", "old.sql.goog"), false},
		{"another name of the instance, if that is enough", lenient, leaf(serverCA, "", "old.sql.goog"), true},
		{"another instance, if any name is enough", lenient, leaf(serverCA, "", "new.sql.goog"), false},
		{"name that was not dialled", plain, leaf(serverCA, "", "db.example.com"), false},
		{"name that the owner has had put into it", plain, leaf(second, "", "db.acme.example"), true},
		{"another instance", plain, leaf(serverCA, "my-project:other-db"), false},
		{"another instance, by a dialled name", domain, leaf(serverCA, "my-project:other-db"), false},
		{"foreign CA", plain, leaf(clientCA, "my-project:my-db"), false},
		{"foreign CA, by a dialled name", domain, leaf(clientCA, "", "db.example.com"), false},
		{"no certificate", plain, nil, false},
	} {
		err := tt.cfg.VerifyConnection(tls.ConnectionState{PeerCertificates: tt.certs, ServerName: tt.cfg.ServerName})
		if good := err == nil; good != tt.good {
			t.Errorf("%s: %v", tt.name, err)
		}
		var unverified *tlsverify.Error
		if err != nil && (!errors.As(err, &unverified) || unverified.CAMode != "GOOGLE_MANAGED_CAS_CA") {
			t.Errorf("%s: error is %#v", tt.name, err)
		}
	}
}
