package hint_test

import (
	"context"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/auth"
	"github.com/cloudsqlconn/cloudsqlconn/internal/caller"
	"github.com/cloudsqlconn/cloudsqlconn/internal/failure"
	"github.com/cloudsqlconn/cloudsqlconn/internal/hint"
	"github.com/cloudsqlconn/cloudsqlconn/internal/reach"
	"github.com/cloudsqlconn/cloudsqlconn/internal/refresh"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata/wire"
	"github.com/cloudsqlconn/cloudsqlconn/internal/tlsverify"
)

var update = flag.Bool("update", false, "write the golden file anew")

var subject = hint.Subject{
	Project: "my-project", Instance: "my-db",
	API:    sqldata.Endpoint{Host: "sqladmin.googleapis.com", Port: "443"},
	Stream: sqldata.Endpoint{Host: "sqladmin.googleapis.com", Port: "443"},
}

// tries are the error of tries that have failed at a step, one for each type of
// address.
func tries(step string, err error, types ...string) *reach.Error {
	e := &reach.Error{}
	for _, kind := range types {
		e.Addrs = append(e.Addrs, &reach.AddrError{Kind: kind, Addr: "203.0.113.10:3307", Step: step, Err: err})
	}
	return e
}

func refused(step auth.Step, code int) error {
	return &admin.TokenError{Err: &auth.RefusedError{Step: step, Code: code, Host: "sts.googleapis.com", Target: "sa@my-project.iam.gserviceaccount.com", Err: errors.New("no")}}
}

// stream is an error of a stream, which says itself what to do.
type stream struct {
	error
	hint.Stream
}

func (s stream) Hint(to hint.Subject, whole error) string { return s.Stream.Hint(to, whole) }

func streamed(code codes.Code, reason, message string, left time.Duration) error {
	status := &sqldata.StatusError{Code: code, Reason: reason, Message: message}
	return stream{errors.New("a stream"), hint.Stream{Status: status, Left: left}}
}

var failures = []struct {
	name, op string
	err      error
}{
	{"no answer on a public address", failure.OpDial, tries(reach.StepTCP, context.DeadlineExceeded, admin.Public)},
	{"no answer on any address", failure.OpDial, tries(reach.StepTCP, context.DeadlineExceeded, admin.AddressTypes...)},
	{"refused on a private address", failure.OpDial, tries(reach.StepTCP, syscall.ECONNREFUSED, admin.Private)},
	{"no TLS", failure.OpHandshake, tries(reach.StepTLS, errors.New("first record does not look like a TLS handshake"), admin.Public)},
	{"other addresses are there", failure.OpDial, &reach.Error{Addrs: tries(reach.StepTCP, context.DeadlineExceeded, admin.PSC).Addrs, Others: []string{admin.Public}}},
	{"no such address", failure.OpDial, &reach.NoAddressError{Wanted: []string{admin.Private}, Has: []string{admin.Public}}},
	{"none of one type", failure.OpDial, &reach.NoAddressError{Wanted: []string{admin.PSC}}},
	{"no address at all", failure.OpDial, &reach.NoAddressError{Wanted: admin.AddressTypes}},
	{"a function that returns nothing", failure.OpDial, tries(reach.StepTCP, reach.ErrNoConn, admin.Public)},
	{"another server", failure.OpHandshake, tries(reach.StepTLS, &tlsverify.Error{Err: errors.New("other")}, admin.Public)},
	{"a name that is not in the certificate", failure.OpHandshake, tries(reach.StepTLS, &tlsverify.Error{Unlisted: true, Err: errors.New("other")}, admin.Public)},
	{"SHA-1", failure.OpHandshake, tries(reach.StepTLS, &tlsverify.Error{SHA1: true, CAMode: "GOOGLE_MANAGED_CAS_CA", Err: errors.New("SHA-1")}, admin.Public)},
	{"a server certificate that has expired", failure.OpHandshake, tries(reach.StepTLS, &tlsverify.Error{Err: x509.CertificateInvalidError{Reason: x509.Expired}}, admin.Public)},
	{"a certificate that is born old", failure.OpRefresh, &admin.ExpiredError{ClockOffset: 2 * time.Hour}},
	{"a value that has expired", failure.OpRefresh, refresh.ErrExpired},
	{"nonsense of the API", failure.OpRefresh, &admin.ReplyError{Field: "connectSettings.serverCaCert.cert", Problem: "nonsense"}},
	{"an impossible configuration", failure.OpRefresh, &admin.ConfigError{Problem: "SQL Server has none", Hint: "Leave it out."}},
	{"an API that cannot be reached", failure.OpRefresh, errors.New("no route to host")},
	{"a bad name", failure.OpResolve, failure.Mark(failure.ErrBadName, errors.New("bad"))},
	{"no credentials", failure.OpRefresh, &admin.TokenError{Err: &auth.NotFoundError{Err: errors.New("none")}}},
	{"a credentials file that is missing", failure.OpRefresh, &admin.TokenError{Err: &auth.NotFoundError{From: "/etc/key.json", Err: errors.New("no such file")}}},
	{"a bad token source", failure.OpRefresh, &admin.TokenError{Err: &auth.OwnError{Problem: "an empty token"}}},
	{"impersonation is forbidden", failure.OpRefresh, refused(auth.Impersonation, http.StatusForbidden)},
	{"impersonation of nobody", failure.OpRefresh, refused(auth.Impersonation, http.StatusNotFound)},
	{"a login that is over", failure.OpRefresh, refused(auth.UserLogin, http.StatusBadRequest)},
	{"a deleted key", failure.OpRefresh, refused(auth.AccountKey, http.StatusBadRequest)},
	{"federation", failure.OpRefresh, refused(auth.Federation, http.StatusBadRequest)},
	{"the metadata server", failure.OpRefresh, refused(auth.Metadata, http.StatusForbidden)},
	{"a token server that is busy", failure.OpRefresh, refused(auth.AccountKey, http.StatusServiceUnavailable)},
	{"the caller has gone", failure.OpDial, context.Canceled},
	{"SQL Data does not know the instance", failure.OpStream, streamed(codes.NotFound, "", "not found", 0)},
	{"SQL Data does not serve the type", failure.OpStream, streamed(codes.FailedPrecondition, wire.UnsupportedType, "no", 0)},
	{"SQL Data is busy", failure.OpStream, streamed(codes.ResourceExhausted, "", "busy", 0)},
	{"SQL Data is busy for a while", failure.OpStream, streamed(codes.ResourceExhausted, "", "busy", 1500*time.Millisecond)},
	{"SQL Data is lost", failure.OpStream, streamed(codes.Unavailable, "", "EOF", 0)},
	{"what inspects TLS", failure.OpStream, streamed(codes.Unavailable, "", "missing selected ALPN property", 0)},
	{"no emulator", failure.OpRefresh, &admin.AbsentError{Err: &admin.CallError{}}},
	{"no host of an emulator", failure.OpConfig, failure.Mark(failure.ErrConfig, &caller.EmulatorHostError{})},
	{"SQL Data does not exist", failure.OpStream, streamed(codes.Unimplemented, "", "unknown service", 0)},
}

// Each sentence for itself. errors.golden of package faults has them as they are met.
func TestHints(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for _, f := range failures {
		text := subject.Hint(f.op, fmt.Errorf("in a chain: %w", f.err))
		if strings.ContainsAny(text, "\r\n") || strings.Contains(text, "  ") {
			t.Errorf("%s: %q is not one line", f.name, text)
		}
		fmt.Fprintf(&b, "%s: %s\n\n", f.name, text)
	}
	file := filepath.Join("testdata", "hints.golden")
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.ReplaceAll(string(want), "\r\n", "\n"), b.String()); diff != "" {
		t.Errorf("%s (-) differs (+):\n%s", file, diff)
	}
}

// What is said of a type that nothing is known of is said of no other.
func TestEveryTypeOfAddressHasHints(t *testing.T) {
	t.Parallel()
	said := map[string]string{}
	for _, kind := range append([]string{"unknown"}, admin.AddressTypes...) {
		for _, err := range []error{&reach.NoAddressError{Wanted: []string{kind}}, tries(reach.StepTCP, context.DeadlineExceeded, kind)} {
			text := subject.Hint(failure.OpDial, err)
			if before, ok := said[text]; ok {
				t.Errorf("the hint for the type %s is that for %s: %s", kind, before, text)
			}
			said[text] = kind
		}
	}
}
