package faults_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/authtest"
)

const goldenErrors = "testdata/errors.golden"

// Every failure of every hop, as people see it. A reader of the file should
// understand each line without knowing this code. -update writes it anew.
func TestErrorsSayWhatHappenedAndWhatToDo(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the golden file has the errors of Unix systems")
	}
	s := authtest.NewServer("admin", "login")
	t.Cleanup(s.Close)
	var told []string
	groups := []struct {
		hop      string
		failures []failure
	}{
		{"configure", configureFailures}, {"resolve", resolveFailures}, {"token", tokenFailures(s, t.TempDir())}, {"refresh", refreshFailures(s)},
		{"dial", dialFailures}, {"handshake", handshakeFailures}, {"read", readFailures}, {"login", loginFailures(s)}, {"stream", streamFailures},
	}
	t.Run("all", func(t *testing.T) {
		for _, g := range groups {
			for _, f := range g.failures {
				i, name := len(told), g.hop+": "+f.name
				told = append(told, "")
				t.Run(name, func(t *testing.T) {
					f.run(t, func(t *testing.T, err error) { told[i] = tell(t, name, err) })
					if f.outside != nil { // whether a moment has passed is up to the machine
						told[i] = strings.ReplaceAll(told[i], someAttempts, "")
					}
				})
			}
		}
	})
	if t.Failed() {
		return
	}
	got := strings.Join(told, "\n")
	if *update {
		if err := os.WriteFile(goldenErrors, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(goldenErrors)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s (-) differs from what is told (+):\n%s", goldenErrors, diff)
	}
	wantPage(t, got)
}

// failure is one way to fail: of an instance, with a Dialer that has more
// options. Without fail it is a Dial with ten seconds of time.
type failure struct {
	name   string
	cfg    cloudsqltest.Instance
	opts   []cloudsqlconn.Option
	dial   []cloudsqlconn.DialOption
	before func(w *world)
	fail   func(w *world) error

	outside func(t *testing.T) error // in place of all else: real time, alone
}

func (f *failure) run(t *testing.T, told func(*testing.T, error)) {
	if f.outside != nil {
		told(t, f.outside(t))
		return
	}
	if f.cfg.Addrs == nil {
		f.cfg.Addrs = map[cloudsqlconn.IPType]string{cloudsqlconn.PublicIP: publicAddr, cloudsqlconn.PrivateIP: privateAddr}
	}
	inWorld(t, f.cfg, func(t *testing.T, w *world) {
		if f.before != nil {
			f.before(w)
		}
		if f.fail == nil {
			f.fail = func(w *world) error { return w.dial(ample, f.dial...) }
		}
		err := f.fail(w)
		if err == nil {
			t.Fatal("nothing failed")
		}
		told(t, err)
	}, f.opts...)
}

// random is what the pauses between attempts make of an error.
var random = regexp.MustCompile(` \(\d+ attempts?, the last \S+ ago\)`)

// someAttempts stands for it.
const someAttempts = " (some attempts, the last a moment ago)"

// tell is an error's entry in the golden file. It checks what holds for all.
func tell(t *testing.T, name string, err error) string {
	t.Helper()
	var e *cloudsqlconn.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v of type %T, want an *Error", err, err)
	}
	if !strings.HasPrefix(e.Error(), "cloudsqlconn: "+e.Op+" ") && !strings.HasPrefix(e.Error(), "cloudsqlconn: "+e.Op+":") {
		t.Errorf("%q does not begin with the operation", e)
	}
	for _, text := range []string{e.Error(), e.Hint} {
		if strings.ContainsAny(text, "\r\n") || len(text) > 2500 {
			t.Errorf("%q is no line of bearable length", text)
		}
		for _, secret := range append(authtest.Secrets(), "-token-", "some-access-token", "hunter2") {
			if strings.Contains(text, secret) {
				t.Errorf("%q shows the secret %q", text, secret)
			}
		}
	}
	code := e.Code()
	if reason := e.Reason(); reason != "" {
		code += ", reason " + reason
	}
	if wait := e.RetryAfter(); wait > 0 {
		code += ", again after " + wait.String()
	}
	return fmt.Sprintf("## %s\nerror: %s\nhint:  %s\nis:    %s\ncode:  %s\n", name, random.ReplaceAllString(e.Error(), someAttempts), e.Hint, strings.Join(kinds(err), ", "), code)
}

// kinds is what errors.Is and errors.As find.
func kinds(err error) []string {
	var found []string
	for _, k := range []struct {
		name string
		err  error
	}{
		{"ErrDialerClosed", cloudsqlconn.ErrDialerClosed}, {"ErrBadName", cloudsqlconn.ErrBadName}, {"ErrNotFound", cloudsqlconn.ErrNotFound},
		{"ErrPermission", cloudsqlconn.ErrPermission}, {"ErrNoAddress", cloudsqlconn.ErrNoAddress}, {"ErrUnverified", cloudsqlconn.ErrUnverified},
		{"ErrConfig", cloudsqlconn.ErrConfig}, {"context.Canceled", context.Canceled}, {"context.DeadlineExceeded", context.DeadlineExceeded},
		{"driver.ErrBadConn", driver.ErrBadConn}, {"net.ErrClosed", net.ErrClosed}, {"ECONNREFUSED", syscall.ECONNREFUSED}, {"ECONNRESET", syscall.ECONNRESET},
	} {
		if errors.Is(err, k.err) {
			found = append(found, k.name)
		}
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		found = append(found, "*net.DNSError")
	}
	if _, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		found = append(found, "x509.CertificateInvalidError")
	}
	if _, ok := errors.AsType[tls.AlertError](err); ok {
		found = append(found, "tls.AlertError")
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		found = append(found, "*pgconn.PgError "+pg.Code)
	}
	if len(found) == 0 {
		return []string{"nothing else"}
	}
	return found
}

// only returns the options of a Dialer that has no others, but for the kit's
// way to the instance. The Admin API is the kit's; the rest of the internet is
// rest.
func only(w *world, rest http.RoundTripper, opts ...cloudsqlconn.Option) {
	w.t.Helper()
	_ = w.dialer.Close()
	d, err := cloudsqlconn.NewDialer(context.Background(), append([]cloudsqlconn.Option{
		cloudsqlconn.WithAdminAPIEndpoint(w.URL()), cloudsqlconn.WithDialFunc(w.DialContext),
		cloudsqlconn.WithHTTPClient(&http.Client{Transport: route{w.Client().Transport, rest}}),
	}, opts...)...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.dialer = d
}
