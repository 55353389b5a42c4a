package faults_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/authtest"
)

// step returns the only step of a hop.
func step(t *testing.T, r *cloudsqlconn.Report, hop cloudsqlconn.Hop) cloudsqlconn.Step {
	t.Helper()
	var found []cloudsqlconn.Step
	for _, s := range r.Steps {
		if s.Hop == hop {
			found = append(found, s)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d steps %s in\n%v", len(found), hop, r)
	}
	return found[0]
}

func TestCheckDisturbsNothing(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{Addrs: publicOnly}, func(t *testing.T, w *world) {
		conn, err := w.dialer.Dial(t.Context(), testInstance)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := echo(conn); err != nil {
			t.Fatal(err)
		}
		before := w.dialer.Instances()
		handshakes := w.instance.Counts().Handshakes
		for _, want := range []bool{false, false} { // the echo is no PostgreSQL
			if r := w.check(testInstance); r.OK() != want {
				t.Errorf("got\n%v", r)
			}
		}
		w.wantCalls(6) // two for each
		w.fault.Store(status(403))
		if r := w.check(testInstance); step(t, r, cloudsqlconn.HopMetadata).Result != cloudsqlconn.Failed {
			t.Errorf("a cached answer was used:\n%v", r)
		}
		w.wantFaults()
		w.fault.Store(nil)
		if diff := cmp.Diff(before, w.dialer.Instances(), cmp.Comparer(func(a, b cloudsqlconn.Name) bool { return a == b })); diff != "" {
			t.Errorf("the status has changed (-before +after):\n%s", diff)
		}
		if n := w.instance.Counts(); n.Handshakes != handshakes+2 || n.Resumed != 0 {
			t.Errorf("%+v", n)
		}
		if err := echo(conn); err != nil {
			t.Errorf("the open connection: %v", err)
		}
		w.wantDial()
		w.wantCalls(7)
	})
}

func TestCheckFollowsDNSAsItIsNow(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{Handler: postgres}, func(t *testing.T, w *world) {
		dns := cloudsqltest.NewDNS()
		dns.SetTXT("db.example.com", testInstance)
		w.withOptions(cloudsqlconn.WithDNSResolver(dns))
		if err := w.dialer.Warmup(t.Context(), "db.example.com"); err != nil {
			t.Fatal(err)
		}
		fault := &cloudsqltest.DNSFault{Code: cloudsqltest.ServFail}
		dns.Fail("db.example.com", fault)
		if err := w.dialer.Warmup(t.Context(), "db.example.com"); err != nil {
			t.Fatalf("the last answer serves: %v", err)
		}
		before := dns.Hits(fault)
		r := w.check("db.example.com")
		if s := step(t, r, cloudsqlconn.HopDNS); s.Result != cloudsqlconn.Failed || s.Duration > 30*time.Second {
			t.Errorf("got\n%v", r)
		}
		if dns.Hits(fault) == before {
			t.Error("the fault did not happen")
		}
	})
}

func TestCheckRefusesWrongArguments(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		if r, err := w.dialer.Check(t.Context(), testInstance, cloudsqlconn.WithIPTypes()); r != nil || !errors.Is(err, cloudsqlconn.ErrConfig) {
			t.Errorf("wrong options: %v, %v", r, err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errors.New("enough"))
		var e *cloudsqlconn.Error
		if r, err := w.dialer.Check(ctx, testInstance); r != nil || !errors.As(err, &e) || !strings.Contains(err.Error(), "enough") {
			t.Errorf("ended context: %v, %v", r, err)
		}
		_ = w.dialer.Close()
		if r, err := w.dialer.Check(t.Context(), testInstance); r != nil || !errors.Is(err, cloudsqlconn.ErrDialerClosed) {
			t.Errorf("closed Dialer: %v, %v", r, err)
		}
		w.wantCalls(0)
	})
}

// Whatever hangs, a check ends with its context, or with the Dialer.
func TestCheckEndsWithItsContextAndWithTheDialer(t *testing.T) {
	for name, hang := range map[string]func(w *world){
		"API":      func(w *world) { w.fault.Store(&cloudsqltest.Fault{Hang: true}) },
		"TCP":      func(w *world) { w.instance.SetBehavior(cloudsqltest.Unreachable) },
		"TLS":      func(w *world) { w.instance.SetBehavior(cloudsqltest.Silent) },
		"database": func(*world) {},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, cloudsqltest.Instance{Addrs: publicOnly, Handler: says(1000, "")}, func(t *testing.T, w *world) {
				hang(w)
				for _, end := range []struct {
					when func(cancel context.CancelFunc)
					want error
				}{
					{func(cancel context.CancelFunc) { cancel() }, context.Canceled},
					{func(context.CancelFunc) { _ = w.dialer.Close() }, cloudsqlconn.ErrDialerClosed},
				} {
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					time.AfterFunc(time.Second, func() { end.when(cancel) })
					began := time.Now()
					r, err := w.dialer.Check(ctx, testInstance)
					if err != nil {
						t.Fatal(err)
					}
					if d := time.Since(began); d != time.Second || !errors.Is(r.Err(), end.want) {
						t.Errorf("it took %v, want %v in\n%v", d, end.want, r)
					}
				}
			})
		})
	}
}

func TestReportsAreJSON(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{Addrs: publicOnly}, func(t *testing.T, w *world) {
		w.fault.Store(&cloudsqltest.Fault{Delay: 1500 * time.Millisecond})
		r := w.check(testInstance)
		w.wantFaults()
		raw, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Time, Name, Version string
			OK                  bool
			Steps               []struct {
				Hop, Target, Result, Detail, Error, Hint string
				Seconds                                  float64
			}
		}
		if err := json.Unmarshal(raw, &got); err != nil {
			t.Fatal(err)
		}
		if got.Time != "2000-01-01T00:00:00Z" || got.Name != testInstance || got.Version == "" || got.OK || len(got.Steps) != len(r.Steps) {
			t.Errorf("got %s", raw)
		}
		for i, s := range got.Steps {
			want := r.Steps[i]
			if s.Hop != string(want.Hop) || s.Target != want.Target || s.Result != string(want.Result) || s.Detail != want.Detail || s.Hint != want.Hint ||
				s.Seconds != want.Duration.Seconds() || (s.Error == "") != (want.Err == nil) {
				t.Errorf("step %d: got %+v, want %+v", i, s, want)
			}
		}
		if s := got.Steps[4]; s.Hop != "metadata" || s.Seconds != 1.5 {
			t.Errorf("got %+v", s)
		}
		if s := got.Steps[len(got.Steps)-1]; s.Error != `what answers is not PostgreSQL: its first byte is '\x00'` {
			t.Errorf("got %+v", s)
		}
	})
}

func TestCheckSaysWhoseCredentialsTheyAre(t *testing.T) {
	g := newGoogle(t) // environment variables: not parallel
	for _, tt := range []struct {
		name    string
		content []byte
		opts    []cloudsqlconn.Option
		want    string
	}{
		{"key.json", g.auth.ServiceAccount(), nil, "service_account " + authtest.Account + ", from WithCredentialsFile key.json"},
		{"user.json", g.auth.User(), nil, "authorized_user, from WithCredentialsFile user.json"},
	} {
		file := writeFile(t, tt.name, tt.content)
		d := g.dialer(t, append(tt.opts, cloudsqlconn.WithCredentialsFile(file))...)
		r, err := d.Check(t.Context(), testInstance, cloudsqlconn.WithPSC()) // it has none: no connection
		if err != nil {
			t.Fatal(err)
		}
		if s := step(t, r, cloudsqlconn.HopCredentials); s.Detail != tt.want {
			t.Errorf("credentials %q, want %q", s.Detail, tt.want)
		}
		if s := step(t, r, cloudsqlconn.HopToken); s.Result != cloudsqlconn.Passed || !strings.HasPrefix(s.Detail, "expires ") {
			t.Errorf("token: %+v", s)
		}
		wantNoSecretsOf(t, g, r)
	}
}

// A key's assertions are refused when the clock is off, before any call of the
// Admin API could tell.
func TestCheckComparesTheClockWithTheTokenServers(t *testing.T) {
	g := newGoogle(t)
	refused := 0
	g.auth.Fail = func(*http.Request) *authtest.Failure {
		refused++
		return &authtest.Failure{Code: http.StatusBadRequest, Body: `{"error":"invalid_grant"}`,
			Header: http.Header{"Date": {time.Now().Add(10 * time.Minute).UTC().Format(http.TimeFormat)}}}
	}
	file := writeFile(t, "key.json", g.auth.ServiceAccount())
	r, err := g.dialer(t, cloudsqlconn.WithCredentialsFile(file)).Check(t.Context(), testInstance)
	if err != nil {
		t.Fatal(err)
	}
	if refused == 0 {
		t.Error("the fault did not happen")
	}
	s := step(t, r, cloudsqlconn.HopClock)
	if s.Result != cloudsqlconn.Failed || !strings.Contains(s.Err.Error(), "10 minutes behind") {
		t.Errorf("got\n%v", r)
	}
	wantNoSecretsOf(t, g, r)
}

func wantNoSecretsOf(t *testing.T, g *google, r *cloudsqlconn.Report) {
	t.Helper()
	raw, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range append(authtest.Secrets(), g.Token(), g.LoginToken(), t.TempDir()) {
		if strings.Contains(r.String(), secret) || strings.Contains(string(raw), secret) {
			t.Errorf("%q is in\n%v\n%s", secret, r, raw)
		}
	}
}

func writeFile(t *testing.T, name string, content []byte) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
