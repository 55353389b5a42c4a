package kind

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
	"unicode"

	"google.golang.org/grpc/codes"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/failure"
	"github.com/cloudsqlconn/cloudsqlconn/internal/googleapi"
	"github.com/cloudsqlconn/cloudsqlconn/internal/netdial"
	"github.com/cloudsqlconn/cloudsqlconn/internal/reach"
	"github.com/cloudsqlconn/cloudsqlconn/internal/refresh"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata"
)

// sentinelTypes are the kinds of error by what errors.Is finds.
var sentinelTypes = []struct {
	err  error
	name string
}{
	{failure.ErrBadName, "bad_name"},
	{failure.ErrNotFound, "not_found"},
	{failure.ErrPermission, "permission"},
	{failure.ErrNoAddress, "no_address"},
	{failure.ErrUnverified, "unverified"},
	{failure.ErrConfig, "config"},
}

// Type is the kind of an error of a Dial, or of a step of it, one of few, as telemetry
// tells it. Of an error that has ended by its context, it is the kind
// of what went wrong until then, if anything did.
func Type(err error) string {
	err = Classify(err)
	var (
		token *admin.TokenError
		call  *admin.CallError
		api   *googleapi.Error
		dns   *net.DNSError
		way   Told
		proxy *netdial.Error
	)
	switch {
	case errors.Is(err, failure.ErrDialerClosed), errors.Is(err, refresh.ErrClosed):
		return "dialer_closed"
	case admin.Quota(err), errors.As(err, &way) && way.Exhausted():
		return "quota"
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.As(err, &token):
		return "token"
	}
	for _, t := range sentinelTypes {
		if errors.Is(err, t.err) {
			return t.name
		}
	}
	switch {
	case errors.As(err, &call) && call.Stranger:
		return "not_the_api"
	case errors.As(err, &call) && errors.As(call, &api):
		return fmt.Sprintf("http_%d", api.Code)
	case Status(err) != "":
		return "rpc_" + strings.ToLower(Status(err))
	case errors.As(err, &proxy):
		return "proxy"
	case errors.As(err, &dns):
		return "dns"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection_refused"
	case errors.Is(err, syscall.ECONNRESET):
		return "connection_reset"
	case aboutTLS(err):
		return "tls"
	case errors.Is(err, context.DeadlineExceeded):
		return "deadline_exceeded"
	}
	return "_OTHER"
}

// aboutTLS reports whether err is about TLS: with the instance, or with a service.
func aboutTLS(err error) bool {
	var (
		alert  tls.AlertError
		record tls.RecordHeaderError
		verify *tls.CertificateVerificationError
		wrong  x509.CertificateInvalidError
	)
	if failed, ok := errors.AsType[*reach.Error](err); ok && slices.ContainsFunc(failed.Addrs, func(a *reach.AddrError) bool { return a.Step == reach.StepTLS && !a.Silent }) {
		return true
	}
	return failure.IsAlert(err) || errors.As(err, &alert) || errors.As(err, &record) || errors.As(err, &verify) || errors.As(err, &wrong)
}

// Status is the gRPC status of an error, as its documentation spells them;
// "" if there is none.
func Status(err error) string {
	s, ok := errors.AsType[*sqldata.StatusError](err)
	if !ok {
		return ""
	}
	if s.Code == codes.Canceled {
		return "CANCELLED"
	}
	var b strings.Builder
	for i, r := range s.Code.String() {
		if i > 0 && unicode.IsUpper(r) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToUpper(r))
	}
	return b.String()
}
