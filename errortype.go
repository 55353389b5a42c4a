package cloudsqlconn

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

	"google.golang.org/api/googleapi"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/failure"
	"github.com/cloudsqlconn/cloudsqlconn/internal/netdial"
	"github.com/cloudsqlconn/cloudsqlconn/internal/reach"
	"github.com/cloudsqlconn/cloudsqlconn/internal/refresh"
)

// sentinelTypes are the kinds of error by what errors.Is finds.
var sentinelTypes = []struct {
	err  error
	name string
}{
	{ErrBadName, "bad_name"},
	{ErrNotFound, "not_found"},
	{ErrPermission, "permission"},
	{ErrNoAddress, "no_address"},
	{ErrUnverified, "unverified"},
	{ErrConfig, "config"},
}

// errorType is the kind of an error of a Dial, or of a step of it, one of few: see
// [WithTracerProvider]. Of an error that has ended by its context, it is the kind
// of what went wrong until then, if anything did.
func errorType(err error) string {
	err = classify(err)
	var (
		token *admin.TokenError
		call  *admin.CallError
		api   *googleapi.Error
		dns   *net.DNSError
		way   wayError
		proxy *netdial.Error
	)
	switch {
	case errors.Is(err, ErrDialerClosed), errors.Is(err, refresh.ErrClosed):
		return "dialer_closed"
	case admin.Quota(err), errors.As(err, &way) && way.exhausted():
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
	case statusName(err) != "":
		return "rpc_" + strings.ToLower(statusName(err))
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
	if failed, ok := errors.AsType[*reach.Error](err); ok && slices.ContainsFunc(failed.Attempts, func(a *reach.Attempt) bool { return a.Step == reach.StepTLS && !a.Silent }) {
		return true
	}
	return failure.IsAlert(err) || errors.As(err, &alert) || errors.As(err, &record) || errors.As(err, &verify) || errors.As(err, &wrong)
}
