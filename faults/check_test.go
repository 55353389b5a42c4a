package faults_test

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

var update = flag.Bool("update", false, "write the golden files of TestReports anew")

// says is the handler of a database that reads so many bytes, answers, and
// waits for the end.
func says(reads int, answer string) func(net.Conn) {
	return func(c net.Conn) {
		if _, err := io.ReadFull(c, make([]byte, reads)); err == nil {
			_, _ = io.WriteString(c, answer)
			_, _ = io.Copy(io.Discard, c)
		}
	}
}

var (
	postgres  = says(8, "N")
	mysql     = says(0, "\x0c\x00\x00\x00\x0a8.0.41\x00\x01\x02\x03\x04")
	sqlServer = says(26, "\x04\x01\x00\x09\x00\x00\x01\x00\xff")
)

// refusing is a token source that nothing is got from, and that is not asked
// again for that: the pauses would be random.
var refusing = tokenFunc(func() (*oauth2.Token, error) {
	return nil, &oauth2.RetrieveError{Response: &http.Response{StatusCode: http.StatusBadRequest, Status: "400 Bad Request"}, ErrorCode: "invalid_grant"}
})

// check wants a Check to come to an end, and returns its report.
func (w *world) check(name string, opts ...cloudsqlconn.DialOption) *cloudsqlconn.Report {
	w.t.Helper()
	r, err := w.dialer.Check(context.Background(), name, opts...)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// onCall makes requests of one call of the Admin API meet a fault.
func (w *world) onCall(call string, f *cloudsqltest.Fault) {
	w.OnRequest = func(r *http.Request) *cloudsqltest.Fault {
		if strings.HasSuffix(r.URL.Path, call) {
			w.faults.Add(1)
			return f
		}
		return nil
	}
}

// withOptions replaces the dialer.
func (w *world) withOptions(opts ...cloudsqlconn.Option) {
	w.t.Helper()
	_ = w.dialer.Close()
	w.dialer = w.newDialer(opts...)
}

// onlyWith replaces the dialer by one without the credentials of the kit.
func (w *world) onlyWith(opts ...cloudsqlconn.Option) {
	w.t.Helper()
	_ = w.dialer.Close()
	var err error
	if w.dialer, err = cloudsqlconn.NewDialer(context.Background(), append(opts,
		cloudsqlconn.WithAdminAPIEndpoint(w.URL()), cloudsqlconn.WithHTTPClient(w.Client()), cloudsqlconn.WithDialFunc(w.DialContext))...); err != nil {
		w.t.Fatal(err)
	}
}

// reports are worlds, and the reports that they make: golden files. The hops
// are those that have failed. happened says whether the fault did.
var reports = []struct {
	name     string
	cfg      cloudsqltest.Instance
	arrange  func(w *world)
	ask      string // default: testInstance
	opts     []cloudsqlconn.DialOption
	failed   []cloudsqlconn.Hop
	happened func(w *world) bool
}{
	{name: "good PostgreSQL", cfg: cloudsqltest.Instance{Handler: postgres}},
	{name: "good MySQL", cfg: cloudsqltest.Instance{DatabaseVersion: "MYSQL_8_0", Handler: mysql, CAMode: cloudsqltest.GoogleCAS, DNSNames: []string{"abc.def.europe-west1.sql.goog."}}},
	{name: "good MySQL with metadata exchange", cfg: cloudsqltest.Instance{DatabaseVersion: "MYSQL_8_0", Handler: mysql, MetadataExchange: cloudsqltest.AcceptMetadata}},
	{name: "good SQL Server", cfg: cloudsqltest.Instance{DatabaseVersion: "SQLSERVER_2022_STANDARD", Handler: sqlServer}},
	{name: "good read pool", cfg: cloudsqltest.Instance{Handler: postgres, Nodes: make([]cloudsqltest.Node, 2)}},
	{name: "good IAM login", cfg: cloudsqltest.Instance{Handler: postgres, Addrs: publicOnly}, opts: []cloudsqlconn.DialOption{cloudsqlconn.WithIAMAuthN(true)},
		arrange: func(w *world) {
			_ = w.dialer.Close()
			w.dialer = w.newDialer(cloudsqlconn.WithIAMAuthNTokenSources(lasting(w.Token(), time.Hour), lasting(w.LoginToken(), 10*time.Minute)), cloudsqlconn.WithQuotaProject("billing"))
		}},
	{name: "good DNS name", cfg: cloudsqltest.Instance{Handler: postgres}, ask: "db.example.com", arrange: func(w *world) {
		dns := cloudsqltest.NewDNS()
		dns.SetTXT("db.example.com", testInstance)
		dns.SetHost("db.example.com", w.instance.Addrs()[cloudsqlconn.PrivateIP])
		w.withOptions(cloudsqlconn.WithDNSResolver(dns))
	}},
	{name: "unknown engine", cfg: cloudsqltest.Instance{DatabaseVersion: "ORACLE_\x1b[31m23", Addrs: publicOnly}},

	{name: "no name", ask: "postgres://me:hunter2@/db", failed: []cloudsqlconn.Hop{cloudsqlconn.HopName}},
	{name: "DNS name that does not exist", ask: "db.example.com", failed: []cloudsqlconn.Hop{cloudsqlconn.HopDNS}, arrange: func(w *world) {
		w.withOptions(cloudsqlconn.WithDNSResolver(cloudsqltest.NewDNS()))
	}},
	{name: "no credentials", failed: []cloudsqlconn.Hop{cloudsqlconn.HopCredentials}, arrange: func(w *world) {
		w.onlyWith(cloudsqlconn.WithCredentialsFile("/home/somebody/keys/key.json"))
	}},
	{name: "no token", failed: []cloudsqlconn.Hop{cloudsqlconn.HopToken}, arrange: func(w *world) {
		w.withOptions(cloudsqlconn.WithIAMAuthNTokenSources(refusing, refusing))
	}},
	{name: "forbidden", failed: []cloudsqlconn.Hop{cloudsqlconn.HopMetadata}, arrange: func(w *world) { w.fault.Store(status(403)) }, happened: faulted},
	{name: "no such instance", failed: []cloudsqlconn.Hop{cloudsqlconn.HopMetadata}, ask: "my-project:europe-west1:other", happened: func(w *world) bool { return w.Requests()[0].Status == 404 }},
	{name: "another region", failed: []cloudsqlconn.Hop{cloudsqlconn.HopMetadata}, ask: "my-project:us-central1:my-db"},
	{name: "API hangs", failed: []cloudsqlconn.Hop{cloudsqlconn.HopMetadata}, arrange: func(w *world) { w.fault.Store(&cloudsqltest.Fault{Hang: true}) }, happened: faulted},
	{name: "clock ahead", cfg: cloudsqltest.Instance{Handler: postgres, Addrs: publicOnly}, failed: []cloudsqlconn.Hop{cloudsqlconn.HopClock}, arrange: func(w *world) {
		w.fault.Store(&cloudsqltest.Fault{Header: http.Header{"Date": {time.Now().Add(-62*time.Minute - 20*time.Second).UTC().Format(http.TimeFormat)}}})
	}, happened: faulted},
	{name: "clock behind and refused", failed: []cloudsqlconn.Hop{cloudsqlconn.HopMetadata, cloudsqlconn.HopClock}, arrange: func(w *world) {
		w.fault.Store(&cloudsqltest.Fault{Status: 401, Header: http.Header{"Date": {time.Now().Add(61 * time.Second).UTC().Format(http.TimeFormat)}}})
	}, happened: faulted},
	{name: "no login token", cfg: cloudsqltest.Instance{Handler: postgres, Addrs: publicOnly}, failed: []cloudsqlconn.Hop{cloudsqlconn.HopLoginToken}, opts: []cloudsqlconn.DialOption{cloudsqlconn.WithIAMAuthN(true)},
		arrange: func(w *world) {
			w.withLogin(refusing)
		}},
	{name: "IAM login to SQL Server", cfg: cloudsqltest.Instance{DatabaseVersion: "SQLSERVER_2022_STANDARD", Addrs: publicOnly}, failed: []cloudsqlconn.Hop{cloudsqlconn.HopCertificate}, opts: []cloudsqlconn.DialOption{cloudsqlconn.WithIAMAuthN(true)}},
	{name: "no certificate", cfg: cloudsqltest.Instance{Addrs: publicOnly}, failed: []cloudsqlconn.Hop{cloudsqlconn.HopCertificate}, arrange: func(w *world) {
		w.onCall(":generateEphemeralCert", &cloudsqltest.Fault{Body: "{}"})
	}, happened: faulted},
	{name: "expired certificate", cfg: cloudsqltest.Instance{Addrs: publicOnly, CertTTL: -time.Minute}, failed: []cloudsqlconn.Hop{cloudsqlconn.HopCertificate}},
	{name: "no such address", cfg: cloudsqltest.Instance{Addrs: publicOnly}, failed: []cloudsqlconn.Hop{cloudsqlconn.HopTCP}, opts: []cloudsqlconn.DialOption{cloudsqlconn.WithPSC()}},
	{name: "refused", failed: []cloudsqlconn.Hop{cloudsqlconn.HopTCP, cloudsqlconn.HopTCP}, arrange: func(w *world) { w.instance.Stop() }, happened: func(w *world) bool { return w.instance.Counts().Refused == 2 }},
	{name: "one address swallows SYNs", cfg: cloudsqltest.Instance{Handler: postgres}, failed: []cloudsqlconn.Hop{cloudsqlconn.HopTCP}, arrange: func(w *world) { w.Swallow(w.instance.Addrs()[cloudsqlconn.PublicIP]) },
		happened: func(w *world) bool { return w.instance.Counts().Swallowed == 1 }},
	{name: "another server", cfg: cloudsqltest.Instance{Addrs: publicOnly, AlterServerCert: func(c *x509.Certificate) { c.Subject.CommonName = "my-project:other" }}, failed: []cloudsqlconn.Hop{cloudsqlconn.HopTLS}},
	{name: "stalled handshake", cfg: cloudsqltest.Instance{Addrs: publicOnly}, failed: []cloudsqlconn.Hop{cloudsqlconn.HopTLS}, arrange: func(w *world) { w.instance.SetBehavior(cloudsqltest.StallHandshake) },
		happened: func(w *world) bool { return w.instance.Counts().Stalled == 1 }},
	{name: "cut handshake", cfg: cloudsqltest.Instance{Addrs: publicOnly}, failed: []cloudsqlconn.Hop{cloudsqlconn.HopTLS}, arrange: func(w *world) { w.instance.SetBehavior(cloudsqltest.CloseAtOnce) },
		happened: func(w *world) bool { return w.instance.Counts().Dropped == 1 }},
	{name: "client certificate refused", cfg: cloudsqltest.Instance{Addrs: publicOnly, ClockSkew: 2 * time.Hour}, failed: []cloudsqlconn.Hop{cloudsqlconn.HopDatabase}, happened: func(w *world) bool { return w.instance.Counts().Rejected == 1 }},
	{name: "database down", cfg: cloudsqltest.Instance{Addrs: publicOnly, Handler: func(net.Conn) {}}, failed: []cloudsqlconn.Hop{cloudsqlconn.HopDatabase}},
	{name: "silent database", cfg: cloudsqltest.Instance{Addrs: publicOnly, Handler: says(1000, "")}, failed: []cloudsqlconn.Hop{cloudsqlconn.HopDatabase}},
	{name: "not PostgreSQL", cfg: cloudsqltest.Instance{Addrs: publicOnly}, failed: []cloudsqlconn.Hop{cloudsqlconn.HopDatabase}},
	{name: "PostgreSQL with an error", cfg: cloudsqltest.Instance{Addrs: publicOnly, Handler: says(8, "E")}, failed: []cloudsqlconn.Hop{cloudsqlconn.HopDatabase}},
	{name: "not MySQL", cfg: cloudsqltest.Instance{DatabaseVersion: "MYSQL_8_0", Addrs: publicOnly, Handler: says(0, "SSH-2.0-x")}, failed: []cloudsqlconn.Hop{cloudsqlconn.HopDatabase}},
	{name: "MySQL is full", cfg: cloudsqltest.Instance{DatabaseVersion: "MYSQL_8_0", Addrs: publicOnly, Handler: says(0, "\x17\x00\x00\x00\xff\x10\x04Too many connections")}, failed: []cloudsqlconn.Hop{cloudsqlconn.HopDatabase}},
	{name: "not SQL Server", cfg: cloudsqltest.Instance{DatabaseVersion: "SQLSERVER_2022_STANDARD", Addrs: publicOnly}, failed: []cloudsqlconn.Hop{cloudsqlconn.HopDatabase}},
}

func faulted(w *world) bool { return w.faults.Load() > 0 }

func TestReports(t *testing.T) {
	for _, tt := range reports {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, tt.cfg, func(t *testing.T, w *world) {
				if tt.arrange != nil {
					tt.arrange(w)
				}
				name := tt.ask
				if name == "" {
					name = testInstance
				}
				r := w.check(name, tt.opts...)
				if tt.happened != nil && !tt.happened(w) {
					t.Error("the fault did not happen")
				}
				wantFailed(t, r, tt.failed)
				wantNoSecrets(t, w, r)
				wantGolden(t, tt.name, r)
				if n := len(w.dialer.Instances()); n != 0 {
					t.Errorf("the check has left %d instances in the Dialer", n)
				}
			})
		})
	}
}

// wantFailed checks which hops have failed, and that these and no others have
// an error and a hint.
func wantFailed(t *testing.T, r *cloudsqlconn.Report, want []cloudsqlconn.Hop) {
	t.Helper()
	var got []cloudsqlconn.Hop
	for _, s := range r.Steps {
		failed := s.Result == cloudsqlconn.Failed
		if failed {
			got = append(got, s.Hop)
		}
		var e *cloudsqlconn.Error
		if errors.As(s.Err, &e) != failed || failed && s.Hint != e.Hint || !failed && s.Hint != "" {
			t.Errorf("%s: %s with error %v and hint %q", s.Hop, s.Result, s.Err, s.Hint)
		}
		if failed && !errors.Is(r.Err(), s.Err) {
			t.Errorf("the error of %s is not in %v", s.Hop, r.Err())
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("failed hops (-want +got):\n%s", diff)
	}
	if r.OK() != (len(want) == 0) || r.OK() != (r.Err() == nil) {
		t.Errorf("OK %v, Err %v", r.OK(), r.Err())
	}
}

// wantNoSecrets is F40.
func wantNoSecrets(t *testing.T, w *world, r *cloudsqlconn.Report) {
	t.Helper()
	raw, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{r.String(), string(raw)} {
		for what, secret := range secrets(t, w) {
			if strings.Contains(text, secret) {
				t.Errorf("%s appears in %s", what, text)
			}
		}
		if strings.Contains(text, "hunter2") || strings.Contains(text, "/home/") || strings.Contains(text, "\x1b") {
			t.Errorf("too much is told: %s", text)
		}
	}
}

func wantGolden(t *testing.T, name string, r *cloudsqlconn.Report) {
	t.Helper()
	if r.Version == "" {
		t.Error("no version")
	}
	r.Version = "0.1.0"
	text := r.String()
	if strings.Contains(text, " \n") {
		t.Errorf("blanks at the end of a line: %q", text)
	}
	parts := append(strings.SplitN(text, "\n\n", 3), "")
	for _, s := range r.Steps {
		if s.Hint != "" && !strings.Contains(parts[2], s.Hint+"\n") {
			t.Errorf("the hint of %s is not in %q", s.Hop, parts[2])
		}
	}
	got := strings.TrimSuffix(parts[0]+"\n\n"+parts[1], "\n") + "\n" // without hints: they have tests of their own
	file := filepath.Join("testdata", "check", strings.ReplaceAll(name, " ", "_")+".txt")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.ReplaceAll(string(want), "\r\n", "\n"), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}
