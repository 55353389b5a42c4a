package faults_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/authtest"
)

const (
	publicAddr  = "203.0.113.10"
	privateAddr = "10.1.2.3"
	pscAddr     = "42cfcd3545f4.2imj07zrx20yw.europe-west1.sql-psc.goog"

	ample = 10 * time.Second
)

type (
	addrs   = map[cloudsqlconn.IPType]string
	options = []cloudsqlconn.Option

	dialOptions = []cloudsqlconn.DialOption
)

var configureFailures = []failure{
	{name: "several wrong options", fail: func(*world) error {
		_, err := cloudsqlconn.NewDialer(context.Background(), nil, cloudsqlconn.WithDialTimeout(-1), cloudsqlconn.WithIPTypes("IPV7"), cloudsqlconn.WithAdminAPIEndpoint("here"))
		return err
	}},
	{name: "two sources of credentials", fail: func(*world) error {
		_, err := cloudsqlconn.NewDialer(context.Background(), cloudsqlconn.WithCredentialsFile("a.json"), cloudsqlconn.WithTokenSource(tokens("x")))
		return err
	}},
	{name: "IAM login with a token source that makes no login tokens", fail: func(*world) error {
		_, err := cloudsqlconn.NewDialer(context.Background(), cloudsqlconn.WithTokenSource(tokens("x")), cloudsqlconn.WithIAMAuthN(true))
		return err
	}},
	{name: "a wrong option of a Dial", dial: dialOptions{cloudsqlconn.WithProxy("socks4://proxy.example.com")}},
	{name: "a data source name without an instance", fail: connectSQL("user=app password=hunter2")},
	{name: "a data source name with the path of a socket", fail: connectSQL("host=/cloudsql/" + testInstance + " user=app password=hunter2")},
	{name: "a data source name with a DNS name, without WithDNSResolver", fail: connectSQL("host=db.example.com user=app password=hunter2")},
	{name: "a data source name with an unknown type of address", fail: connectSQL("host=" + testInstance + " user=app password=hunter2 cloudsql_ip_types=INTERNAL")},
}

// named dials a name.
func named(name string) func(w *world) error {
	return func(w *world) error {
		ctx, cancel := context.WithTimeout(context.Background(), ample)
		defer cancel()
		c, err := w.dialer.Dial(ctx, name)
		if err == nil {
			_ = c.Close()
		}
		return err
	}
}

// nobody is a Resolver that knows no instance.
type nobody struct{}

func (nobody) Resolve(context.Context, string) (cloudsqlconn.Resolution, error) {
	return cloudsqlconn.Resolution{}, nil
}

// withPort is a Resolver that has read no documentation.
type withPort struct{}

func (withPort) Resolve(context.Context, string) (cloudsqlconn.Resolution, error) {
	n, err := cloudsqlconn.ParseName(testInstance)
	return cloudsqlconn.Resolution{Instance: n, Hosts: []string{"127.1.0.1:3307"}}, err
}

// withDNS lets the Dialer take DNS names.
func withDNS(arrange func(dns *cloudsqltest.DNS)) func(w *world) {
	return func(w *world) {
		dns := cloudsqltest.NewDNS()
		arrange(dns)
		_ = w.dialer.Close()
		w.dialer = w.newDialer(cloudsqlconn.WithDNSResolver(dns))
	}
}

var resolveFailures = []failure{
	{name: "a name that is not a connection name", fail: named("my-db")},
	{name: "a DNS name without WithDNSResolver", fail: named("db.example.com")},
	{name: "the path of a socket", fail: named("/cloudsql/" + testInstance)},
	{name: "a name with slashes", fail: named("my-project/europe-west1/my-db")},
	{name: "a name of the Admin API's", fail: named("projects/my-project/instances/my-db")},
	{name: "a data source name with a password", fail: named("postgres://me:hunter2@my-db/app")},
	{name: "a custom resolver that finds nothing", opts: options{cloudsqlconn.WithResolver(nobody{})}, fail: named("db.example.com")},
	{name: "a custom resolver that finds a host with a port", opts: options{cloudsqlconn.WithResolver(withPort{})}, fail: named("db.example.com")},
	{name: "a name that is not a DNS name", before: withDNS(func(*cloudsqltest.DNS) {}), fail: named("my_db")},
	{name: "a DNS name that does not exist", before: withDNS(func(*cloudsqltest.DNS) {}), fail: named("db.example.com")},
	{name: "a TXT record without a connection name", before: withDNS(func(dns *cloudsqltest.DNS) { dns.SetTXT("db.example.com", "v=spf1 -all") }), fail: named("db.example.com")},
	{name: "a loop of aliases", before: withDNS(func(dns *cloudsqltest.DNS) {
		dns.AnswerOneHop(true)
		dns.SetCNAME("a.example.com", "b.example.com")
		dns.SetCNAME("b.example.com", "a.example.com")
	}), fail: named("a.example.com")},
	{name: "a DNS server that fails", before: withDNS(func(dns *cloudsqltest.DNS) {
		dns.Fail("db.example.com", &cloudsqltest.DNSFault{Code: cloudsqltest.ServFail})
	}), fail: named("db.example.com")},
	{name: "a DNS name of Cloud SQL's own that no instance has", before: withDNS(func(*cloudsqltest.DNS) {}), fail: named("42cfcd3545f4.2imj07zrx20yw.europe-west1.sql.goog")},
	{name: "a write endpoint, outside its VPC network", before: withDNS(func(*cloudsqltest.DNS) {}), fail: named("42cfcd3545f4.2imj07zrx20yw.global.sql-psa.goog")},
	{name: "the Dialer is closed", fail: func(w *world) error {
		_ = w.dialer.Close()
		return w.dial(time.Second)
	}},
}

// settings makes connectSettings fail before the other call says anything.
func settings(f *cloudsqltest.Fault) func(w *world) {
	return func(w *world) {
		w.OnRequest = func(r *http.Request) *cloudsqltest.Fault {
			if strings.HasSuffix(r.URL.Path, cloudsqltest.ConnectSettings) {
				return f
			}
			return &cloudsqltest.Fault{Hang: true}
		}
	}
}

// certificate makes generateEphemeralCert fail.
func certificate(f *cloudsqltest.Fault) func(w *world) {
	return func(w *world) {
		w.OnRequest = func(r *http.Request) *cloudsqltest.Fault {
			if strings.HasSuffix(r.URL.Path, cloudsqltest.GenerateEphemeralCert) {
				return f
			}
			return nil
		}
	}
}

func refusal(code int, message, reason string) *cloudsqltest.Fault {
	return &cloudsqltest.Fault{Status: code, Body: cloudsqltest.ErrorBody(code, message, reason)}
}

// detailed is a 403 in the newer form, with a google.rpc.ErrorInfo.
func detailed(message, reason, metadata string) *cloudsqltest.Fault {
	return &cloudsqltest.Fault{Status: 403, Body: fmt.Sprintf(`{"error":{"code":403,"message":%q,"status":"PERMISSION_DENIED","errors":[{"message":%q,"domain":"global","reason":"forbidden"}],
		"details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":%q,"domain":"googleapis.com","metadata":%s}]}}`, message, message, reason, metadata)}
}

// clock makes the Admin API's clock differ by d from this machine's.
func clock(d time.Duration) func(w *world) {
	return func(w *world) {
		w.OnRequest = func(*http.Request) *cloudsqltest.Fault {
			return &cloudsqltest.Fault{Header: http.Header{"Date": {time.Now().Add(d).UTC().Format(http.TimeFormat)}}}
		}
	}
}

func replace(old, new string) *cloudsqltest.Fault {
	return &cloudsqltest.Fault{Alter: func(body []byte) []byte { return []byte(strings.Replace(string(body), old, new, 1)) }}
}

const notInState = "The instance or operation is not in an appropriate state to handle the request."

const notAuthorized = "The client is not authorized to make this request."

func refreshFailures(s *authtest.Server) []failure {
	withKey := func(before func(w *world)) func(w *world) {
		return func(w *world) {
			before(w)
			only(w, s.InProcess().Transport, cloudsqlconn.WithCredentialsJSON(s.ServiceAccount()))
		}
	}
	unauthorized := refusal(401, "Request had invalid authentication credentials.", "authError")
	unauthorized.Header = http.Header{"Date": {"Sat, 01 Jan 2000 03:00:00 GMT"}}
	quota := refusal(429, "Quota exceeded for quota metric 'Queries' and limit 'Queries per minute per user' of service 'sqladmin.googleapis.com'.", "rateLimitExceeded")
	quota.Header = http.Header{"Retry-After": {"30"}}
	api := func(err error) func(w *world) {
		return func(w *world) { // both calls end together: only one may tell
			only(w, nil, cloudsqlconn.WithTokenSource(tokens("some-access-token")), cloudsqlconn.WithHTTPClient(&http.Client{Transport: settingsBreak{err}}))
		}
	}
	return []failure{
		{name: "not allowed to get the metadata", before: settings(refusal(403, notAuthorized, "notAuthorized"))},
		{name: "not allowed to get the metadata, as a known account", before: withKey(settings(refusal(403, notAuthorized, "notAuthorized")))},
		{name: "not allowed to get a certificate", before: certificate(refusal(403, notAuthorized, "notAuthorized"))},
		{name: "not allowed, with the permission in the answer", before: settings(detailed("Permission 'cloudsql.instances.get' denied.", "IAM_PERMISSION_DENIED", `{"permission":"cloudsql.instances.get"}`))},
		{name: "API not enabled", before: settings(detailed("Cloud SQL Admin API has not been used in project 1234 before or it is disabled.", "SERVICE_DISABLED", `{"consumer":"projects/1234","service":"sqladmin.googleapis.com"}`))},
		{name: "API not enabled, in the older form", before: settings(refusal(403, "Access Not Configured.", "accessNotConfigured"))},
		{name: "a token without the scope", before: settings(detailed("Request had insufficient authentication scopes.", "ACCESS_TOKEN_SCOPE_INSUFFICIENT", `{"method":"google.cloud.sql.v1beta4.SqlConnectService.GetConnectSettings"}`))},
		{name: "a quota project that the account may not use", before: settings(detailed("Caller does not have required permission to use project billing.", "USER_PROJECT_DENIED", `{"consumer":"projects/billing"}`)), opts: options{cloudsqlconn.WithQuotaProject("billing")}},
		{name: "VPC Service Controls", before: settings(detailed("Request is prohibited by organization's policy. vpcServiceControlsUniqueIdentifier: abc", "SECURITY_POLICY_VIOLATED", `{"uid":"abc"}`))},
		{name: "token not accepted, and a clock that is behind", before: settings(unauthorized)},
		{name: "a quota project that does not exist", before: settings(detailed("Project 'projects/billing' not found or deleted.", "CONSUMER_INVALID", `{"consumer":"projects/billing"}`)), opts: options{cloudsqlconn.WithQuotaProject("billing")}},
		{name: "billing is off", before: settings(detailed("This API method requires billing to be enabled.", "BILLING_DISABLED", `{"consumer":"projects/1234"}`))},
		{name: "suspended project", before: settings(detailed("Permission denied: Consumer 'projects/1234' has been suspended.", "CONSUMER_SUSPENDED", `{"consumer":"projects/1234"}`))},
		{name: "organization restriction", before: settings(detailed("Access denied by organization restriction. Please contact your administrator for additional information.", "ORG_RESTRICTION_VIOLATION", `{}`))},
		{name: "location policy", before: settings(detailed("Location violates constraint constraints/gcp.resourceLocations.", "LOCATION_ORG_POLICY_VIOLATED", `{}`))},
		{name: "an unknown reason", before: settings(detailed("The moon is full.", "MOON_IS_FULL", `{"consumer":"projects/1234"}`))},
		{name: "not allowed, in the form of 2026", before: settings(refusal(403, "boss::NOT_AUTHORIZED: Not authorized to access resource. Possibly missing permission cloudsql.instances.get on resource instances/my-db.", "forbidden"))},
		{name: "no token arrived", before: settings(refusal(401, "Login Required.", "required"))},
		{name: "stopped instance, or one that is starting", before: settings(refusal(409, notInState, "invalidState"))},
		{name: "suspended instance", before: settings(refusal(409, notInState+" Instance state: SUSPENDED.", "invalidState"))},
		{name: "an instance that is being created", before: settingsAlone(&cloudsqltest.Fault{Body: `{"kind":"sql#connectSettings","region":"europe-west1","databaseVersion":"POSTGRES_18","backendType":"SECOND_GEN"}`})},
		{name: "a name that the API does not accept", before: settings(refusal(400, "Invalid request: Invalid instance name (my-db).", ""))},
		{name: "a request that the API does not accept", before: settings(refusal(400, "Request contains an invalid argument.", "badRequest"))},
		{name: "a login token that the API does not accept", dial: dialOptions{cloudsqlconn.WithIAMAuthN(true)}, before: func(w *world) {
			certificate(refusal(400, "Invalid value for: access_token.", "invalid"))(w)
			w.dialer = w.newDialer(cloudsqlconn.WithIAMAuthNTokenSources(tokens(w.Token()), tokens(w.LoginToken())))
		}},
		{name: "a key that the API does not accept", before: certificate(refusal(400, "Invalid value at 'public_key': not an RSA key.", "invalid"))},
		{name: "no such instance", before: settings(refusal(404, "The Cloud SQL instance does not exist.", "instanceDoesNotExist"))},
		{name: "quota", before: settings(quota)},
		{name: "quota, a while later", before: settings(quota), fail: func(w *world) error {
			_ = w.dial(time.Second)
			time.Sleep(20 * time.Second)
			return w.dial(time.Second)
		}},
		{name: "the API is unavailable", before: settings(&cloudsqltest.Fault{Status: 503, Body: "server error"})},
		{name: "the API is unavailable, and the caller has little time", before: settings(&cloudsqltest.Fault{Status: 500, Body: "server error"}), fail: littleTime},
		{name: "the API answers once, and then no more", before: answeredOnce(&cloudsqltest.Fault{Status: 500, Body: "server error"})},
		{name: "the API does not answer", before: settings(&cloudsqltest.Fault{Hang: true})},
		{name: "no network", before: api(noNetwork("sqladmin.googleapis.com"))},
		{name: "the API's certificate, and a wrong clock", before: api(clockTLS("sqladmin.googleapis.com"))},
		{name: "the API's certificate, from an unknown CA", before: api(&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}})},
		{name: "filtering proxy", before: settings(&cloudsqltest.Fault{Status: 403, Header: http.Header{"Server": {"squid/6.6"}}, Body: "<html><head><title>ERROR: The requested URL could not be retrieved</title></head><body>Access Denied.</body></html>"})},
		{name: "another API in place of the Admin API", before: settings(&cloudsqltest.Fault{Status: 404, Body: `{"message":"no Route matched with those values"}`})},
		{name: "captive portal", before: settings(&cloudsqltest.Fault{Body: "<html><head><title>Welcome to the hotel</title></head></html>", Header: http.Header{"Content-Type": {"text/html; charset=utf-8"}}})},
		{name: "redirect to a sign-in page", before: settings(&cloudsqltest.Fault{Status: 302, Header: http.Header{"Location": {"https://portal.example.com/login?from=sqladmin"}}, Body: "<html><title>Found</title></html>"})},
		{name: "a reply that is cut short", before: settings(&cloudsqltest.Fault{Body: `{"region":`})},
		{name: "metadata without a server CA", before: settingsAlone(replace(`"serverCaCert":`, `"other":`))},
		{name: "reply without content", before: settings(&cloudsqltest.Fault{Body: "null"})},
		{name: "reply of the wrong form", before: settings(&cloudsqltest.Fault{Body: `{"region":5}`})},
		{name: "reply without a certificate", before: certificate(&cloudsqltest.Fault{Body: "{}"})},
		{name: "wrong region", before: settingsAlone(replace(`"region":"europe-west1"`, `"region":"us-east1"`))},
		{name: "instance outside Cloud SQL", before: settings(&cloudsqltest.Fault{Body: `{"kind":"sql#connectSettings","region":"europe-west1","databaseVersion":"MYSQL_8_0","backendType":"EXTERNAL"}`})},
		{name: "first-generation instance", before: settingsAlone(replace(`"SECOND_GEN"`, `"FIRST_GEN"`))},
		{name: "IAM login to SQL Server", cfg: cloudsqltest.Instance{DatabaseVersion: "SQLSERVER_2022_STANDARD"}, dial: dialOptions{cloudsqlconn.WithIAMAuthN(true)}},
		{name: "a new certificate that has expired", cfg: cloudsqltest.Instance{CertTTL: -time.Hour}, fail: atOnce},
		{name: "a new certificate that has expired, and a clock that is ahead", cfg: cloudsqltest.Instance{CertTTL: -time.Hour}, before: clock(-2 * time.Hour), fail: atOnce},
		{name: "a login token that is about to expire", before: func(w *world) {
			w.dialer = w.newDialer(cloudsqlconn.WithIAMAuthNTokenSources(tokens(w.Token()), shortToken(w.LoginToken())))
		}, dial: dialOptions{cloudsqlconn.WithIAMAuthN(true)}},
		{name: "the caller gives up", before: settings(&cloudsqltest.Fault{Hang: true}), fail: func(w *world) error {
			ctx, cancel := context.WithCancel(context.Background())
			time.AfterFunc(time.Second, cancel)
			_, err := w.dialer.Dial(ctx, testInstance)
			return err
		}},
		{name: "the Dialer is closed in the meantime", before: settings(&cloudsqltest.Fault{Hang: true}), fail: closeMeanwhile},
	}
}

// atOnce is a Dial for errors with the time in them: it ends before the first
// pause, which is random.
func atOnce(w *world) error { return w.dial(900 * time.Millisecond) }

// littleTime is a Dial that ends amid the pauses between the tries of its
// refresh.
//
// Callers with less time than the four tries take were told "deadline exceeded
// while waiting for an answer", and that the API cannot be reached: it had
// answered 500 to each of them (issue 13, point 7).
func littleTime(w *world) error { return w.dial(300 * time.Millisecond) }

// answeredOnce makes the Admin API answer connectSettings once, and nothing
// else.
func answeredOnce(f *cloudsqltest.Fault) func(w *world) {
	return func(w *world) {
		var answered atomic.Bool
		w.OnRequest = func(r *http.Request) *cloudsqltest.Fault {
			if strings.HasSuffix(r.URL.Path, cloudsqltest.ConnectSettings) && !answered.Swap(true) {
				return f
			}
			return &cloudsqltest.Fault{Hang: true}
		}
	}
}

// shortToken makes tokens that have half a second left.
type shortToken string

func (s shortToken) Token() (*oauth2.Token, error) {
	return &oauth2.Token{AccessToken: string(s), Expiry: time.Now().Add(time.Second / 2)}, nil
}

// settingsBreak is a way to the Admin API on which connectSettings fails, and
// the other call is never answered.
type settingsBreak struct{ err error }

func (b settingsBreak) RoundTrip(req *http.Request) (*http.Response, error) {
	if strings.HasSuffix(req.URL.Path, cloudsqltest.ConnectSettings) {
		return nil, b.err
	}
	<-req.Context().Done()
	return nil, req.Context().Err()
}

func settingsAlone(f *cloudsqltest.Fault) func(w *world) {
	return func(w *world) {
		w.OnRequest = func(r *http.Request) *cloudsqltest.Fault {
			if strings.HasSuffix(r.URL.Path, cloudsqltest.ConnectSettings) {
				return f
			}
			return nil
		}
	}
}

func closeMeanwhile(w *world) error {
	time.AfterFunc(time.Second, func() { _ = w.dialer.Close() })
	return w.dial(ample)
}

func swallow(hosts ...string) func(w *world) {
	return func(w *world) {
		for _, h := range hosts {
			w.Swallow(h)
		}
	}
}

var dialFailures = []failure{
	{name: "public address does not answer", cfg: cloudsqltest.Instance{Addrs: addrs{cloudsqlconn.PublicIP: publicAddr}}, before: swallow(publicAddr)},
	{name: "private address does not answer, and there is a public one", before: swallow(privateAddr), dial: dialOptions{cloudsqlconn.WithPrivateIP()}},
	{name: "PSC name does not exist", cfg: cloudsqltest.Instance{Addrs: addrs{cloudsqlconn.PSC: pscAddr}}, dial: dialOptions{
		cloudsqlconn.WithDialFunc(func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: pscAddr, IsNotFound: true}}
		}),
	}},
	{name: "no address answers, until the caller's deadline", before: swallow(publicAddr, privateAddr)},
	{name: "no address answers, until the dial timeout", before: swallow(publicAddr, privateAddr), fail: func(w *world) error {
		_, err := w.dialer.Dial(context.Background(), testInstance)
		return err
	}},
	{name: "refused", before: func(w *world) { w.instance.Stop() }},
	{name: "addresses of the DNS name do not answer", fail: func(w *world) error { return named("db.example.com")(w) }, before: func(w *world) {
		withDNS(func(dns *cloudsqltest.DNS) {
			dns.SetTXT("db.example.com", testInstance)
			dns.SetHost("db.example.com", "192.0.2.7")
		})(w)
		swallow(publicAddr, privateAddr, "192.0.2.7")(w)
	}},
	{name: "refused by a node of a read pool", cfg: cloudsqltest.Instance{Nodes: []cloudsqltest.Node{{Addrs: addrs{cloudsqlconn.PrivateIP: "10.1.2.4"}}}}, before: func(w *world) { w.instance.Stop() }},
	{name: "a WithDialFunc that returns nothing", dial: dialOptions{cloudsqlconn.WithPublicIP(), cloudsqlconn.WithDialFunc(func(context.Context, string, string) (net.Conn, error) { return nil, nil })}},
	{name: "no address of the wanted type", dial: dialOptions{cloudsqlconn.WithPSC()}},
	{name: "no address at all", before: settingsAlone(replace(`"ipAddresses":`, `"other":`))},
	{name: "proxy that cannot be reached", dial: dialOptions{cloudsqlconn.WithProxy("http://me:hunter2@127.3.0.9:3128"), cloudsqlconn.WithPublicIP()}},
	{name: "proxy that wants a password", fail: func(w *world) error {
		p := &testProxy{kind: "http", password: true}
		defer w.startProxy(p)()
		return w.dial(ample, cloudsqlconn.WithProxy(p.url("")), cloudsqlconn.WithPublicIP())
	}},
	{name: "the caller gives up", before: swallow(publicAddr, privateAddr), fail: func(w *world) error {
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(time.Second, cancel)
		_, err := w.dialer.Dial(ctx, testInstance)
		return err
	}},
	{name: "refused, and then by the API as well", fail: func(w *world) error {
		w.wantDial()
		w.instance.Stop()
		settings(refusal(403, notAuthorized, "notAuthorized"))(w)
		return w.dial(ample)
	}},
	{name: "the Dialer is closed in the meantime", before: swallow(publicAddr, privateAddr), fail: closeMeanwhile},
}

// breaking opens connections that take everything and break at the first Read.
// With the kit's it can also be a Write that notices first.
func breaking(err error) cloudsqlconn.DialFunc {
	return func(context.Context, string, string) (net.Conn, error) {
		c, _ := net.Pipe()
		return brokenConn{c, err}, nil
	}
}

type brokenConn struct {
	net.Conn
	err error
}

func (c brokenConn) Read([]byte) (int, error) { return 0, c.err }

func (c brokenConn) Write(b []byte) (int, error) { return len(b), nil }
