package hint

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"

	"github.com/cloudsqlconn/cloudsqlconn/internal/netdial"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata/wire"
)

// orAddress is the other way.
const orAddress = "pass WithSQLData(SQLDataPrefer), which takes an address where SQL Data does not serve the instance, or WithSQLData(SQLDataNever), with one of the types of WithIPTypes"

// Stream is the failure of a stream of SQL Data, and what is known of the call.
type Stream struct {
	Status       *sqldata.StatusError
	Principal    string        // e-mail address of who called, or ""
	QuotaProject string        // that the call named, or ""
	Left         time.Duration // until SQL Data is asked again; 0: that is not known
}

// Hint says what to do about it. whole is the error that it is a part of.
func (f *Stream) Hint(s Subject, whole error) string {
	status := f.Status
	switch {
	case status.Unserved() && status.Reason != wire.UnsupportedType && !strings.HasPrefix(status.Message, wire.EditionRefusal):
		return "The instance has to allow it, by a setting that Google does not document; otherwise " + orAddress + "."
	case status.Unserved():
		return "SQL Data is known to serve PostgreSQL instances of the edition DEVELOPER only, see " + s.gcloud("describe", "--format='value(settings.edition,databaseVersion)'") + "; " + orAddress + "."
	}
	switch status.Code {
	case codes.PermissionDenied:
		reasons, metadata := statusReasons(status)
		r := Refusal{
			Project: s.Project, Reasons: reasons, Metadata: metadata, Permission: permissions["generateEphemeralCert"],
			Principal: f.Principal, QuotaProject: f.QuotaProject,
		}
		return r.Hint()
	case codes.Unauthenticated:
		return "The access token is not accepted: log in again with `gcloud auth application-default login`, check whether the service account and its key still exist, and whether the token has the scope sqlservice.admin or cloud-platform."
	case codes.NotFound, codes.InvalidArgument:
		return fmt.Sprintf("Compare the name with those of the project's instances, the region too, by which the call is routed: `gcloud sql instances list --project=%s --format='value(connectionName)'`.", s.Project)
	case codes.Unimplemented:
		return "What answers is not SQL Data: check WithSQLDataEndpoint, WithAdminAPIEndpoint and WithUniverseDomain. If they are right, it does not exist there: " + orAddress + "."
	case codes.ResourceExhausted:
		return "SQL Data is busy, or a quota is used up: keep fewer connections open (SetMaxOpenConns, MaxConns), and for longer." + f.again()
	case codes.DeadlineExceeded:
		return "The stream has reached its maximum lifetime: have the pool replace connections earlier, after 30 to 45 minutes (SetConnMaxLifetime, MaxConnLifetime)."
	case codes.OutOfRange:
		return "Connect again. If this persists, reach the instance by an address: WithSQLData(SQLDataNever)."
	case codes.FailedPrecondition:
		return "If the text means that SQL Data does not serve the instance, reach it by an address: WithSQLData(SQLDataNever)."
	}
	return s.lostHint(status, whole)
}

// again tells when SQL Data is asked again.
func (f *Stream) again() string {
	if f.Left <= 0 {
		return ""
	}
	return fmt.Sprintf(" It is asked again in %d s at the earliest.", (f.Left+time.Second-1)/time.Second)
}

// lostHint is for a stream whose connection was lost, or could not be made.
func (s Subject) lostHint(status *sqldata.StatusError, err error) string {
	proxy, viaProxy := errors.AsType[*netdial.Error](err)
	switch {
	case viaProxy:
		return fmt.Sprintf("Check that this machine can reach the proxy %v, that the credentials in its URL are right, and that the proxy may connect to SQL Data (%s).", proxy.Proxy, at(s.Stream))
	case strings.Contains(status.Message, "x509: "):
		return "This machine does not trust the certificate of what answers in place of SQL Data: set the clock, install the root certificates (package ca-certificates), or pass WithHTTPClient with an *http.Transport, not wrapped in another, that trusts the CA of the proxy that inspects TLS."
	case status.Middlebox():
		return "The server that answers does not speak HTTP/2, which SQL Data needs: look for a proxy or firewall that inspects TLS between this machine and " + s.Stream.Host + ", and have it leave that host alone, or " + orAddress + "."
	case status.Reason == wire.ReconnectFailed:
		return "Connect again."
	case status.Code == codes.Unavailable:
		return "Check that this machine can reach SQL Data (" + at(s.Stream) + ", through HTTPS_PROXY if that is set). The pool replaces a broken connection when it connects again."
	}
	return "Connect again: the service has lost the connection to the instance, or its own state. If this persists, see https://status.cloud.google.com."
}

// statusReasons returns the reasons of a refusal, and what it says about them.
func statusReasons(s *sqldata.StatusError) (reasons []string, metadata map[string]string) {
	for _, detail := range s.GRPCStatus().Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			reasons, metadata = append(reasons, info.GetReason()), info.GetMetadata()
		}
	}
	return reasons, metadata
}
