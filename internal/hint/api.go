package hint

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/googleapi"
	"github.com/cloudsqlconn/cloudsqlconn/internal/refresh"
)

// permissions are what the calls of the Admin API need. Source: the
// documentation of their methods.
var permissions = map[string]string{
	"connectSettings":       "cloudsql.instances.get",
	"generateEphemeralCert": "cloudsql.instances.connect",
}

// callHint is for a call of the Admin API that failed.
func (s Subject) callHint(call *admin.CallError, err error) string {
	var api *googleapi.Error
	switch {
	case !errors.As(call, &api):
		return s.transportHint(call)
	case admin.Quota(call):
		return s.quotaHint(call, err)
	case api.Code >= http.StatusInternalServerError && call.Stranger:
		return "The Admin API, or a proxy on the way to it, is out of order; the Dialer asks again at each Dial. See https://status.cloud.google.com."
	case api.Code >= http.StatusInternalServerError:
		return "The Admin API is out of order; the Dialer asks again at each Dial. See https://status.cloud.google.com."
	case call.Stranger:
		return s.impostorHint()
	case admin.NotReady(call):
		return s.notReadyHint(api)
	case api.Code == http.StatusBadRequest:
		return s.badRequestHint(api)
	case api.Code == http.StatusUnauthorized:
		return unauthorizedHint(call, api)
	case api.Code == http.StatusForbidden:
		return s.forbiddenHint(call, api)
	case api.Code == http.StatusNotFound && call.Call == "resolveConnectSettings":
		return "No instance has this DNS name; `gcloud sql instances describe INSTANCE --format='value(dnsName)'` shows the one of an instance."
	case api.Code == http.StatusNotFound:
		return s.namesHint()
	}
	return ""
}

// namesHint is for a name that may be wrong.
func (s Subject) namesHint() string {
	return fmt.Sprintf("Compare the name with those of the project's instances: `gcloud sql instances list --project=%s --format='value(connectionName)'`.", s.Project)
}

// impostorHint is for answers that the API cannot have given.
func (s Subject) impostorHint() string {
	if s.Emulated {
		return "What answers at " + net.JoinHostPort(s.API.Host, s.API.Port) + ", where CLOUDSQLCONN_EMULATOR_HOST says that the emulator is, is no Admin API: name the emulator's address for that, such as 127.0.0.1:13307, and not its control endpoint."
	}
	return fmt.Sprintf("Something else has most likely answered in place of the Admin API: look for a proxy, a filter or a sign-in page between this machine and %s, and at WithAdminAPIEndpoint.", s.API.Host)
}

// transportHint is for a call that was not answered.
func (s Subject) transportHint(call *admin.CallError) string {
	if _, ok := errors.AsType[*json.SyntaxError](call); ok || call.Stranger {
		return s.impostorHint()
	}
	if expired(call) {
		return "According to this machine's clock, the Admin API's certificate is not valid: set the clock."
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](call); ok {
		return "This machine does not trust the Admin API's certificate: install the root certificates (package ca-certificates), or trust the CA of the proxy that inspects TLS."
	}
	return "Check that this machine can reach the Admin API (" + at(s.API) + ", through HTTPS_PROXY if that is set), and try again."
}

// notReadyHint is for an instance that is in no state to be connected to.
func (s Subject) notReadyHint(api *googleapi.Error) string {
	if strings.Contains(api.Message, "SUSPENDED") {
		return "Google has suspended the instance: " + s.gcloud("describe", "--format='value(suspensionReason)'") + " tells why, for example a matter of billing."
	}
	return "The instance is stopped, is starting, or is in maintenance: see " + s.gcloud("describe", "--format='value(state,settings.activationPolicy)'") +
		". Start one that is stopped: " + s.gcloud("patch", "--activation-policy=ALWAYS") + ". A Dial with enough time waits for the start."
}

// What a 400 is about, which only its text tells.
var (
	aboutKey   = regexp.MustCompile(`(?i)public[_ ]?key`)
	aboutToken = regexp.MustCompile(`(?i)access[_ ]?token`)
	aboutName  = regexp.MustCompile(`(?i)instance name|project name|project id`)
)

func (s Subject) badRequestHint(api *googleapi.Error) string {
	switch {
	case aboutKey.MatchString(api.Message):
		return "The key of WithPrivateKey is of a kind that the API does not take: use RSA with 2048 bits, or leave the option out."
	case aboutToken.MatchString(api.Message):
		return "The token for IAM login is not accepted: it must be an access token that is still valid, with the scope https://www.googleapis.com/auth/sqlservice.login; see WithIAMAuthNTokenSources."
	case aboutName.MatchString(api.Message):
		return s.namesHint()
	}
	return ""
}

func unauthorizedHint(call *admin.CallError, api *googleapi.Error) string {
	reasons, _ := reasonsOf(api)
	if slices.Contains(reasons, "CREDENTIALS_MISSING") || slices.Contains(reasons, "required") {
		return "No token arrived: an HTTP client that was passed to WithHTTPClient has to add one, unless another option sets credentials; or a proxy takes the header Authorization away."
	}
	return Join(Clock(call.ClockOffset, TheAPI), "The access token is not accepted: log in again with `gcloud auth application-default login`, or check whether the service account and its key still exist.")
}

// quotaHint tells how long to wait. The error may be remembered from before.
func (s Subject) quotaHint(call *admin.CallError, err error) string {
	var age time.Duration
	if failure, ok := errors.AsType[*refresh.Failure](err); ok {
		age = failure.Age
	}
	next := ""
	if wait := admin.RetryAfter(call, time.Now().Add(-age)) - age; wait > 0 {
		next = fmt.Sprintf(" The next call will be made in %d s at the earliest.", (wait+time.Second-1)/time.Second)
	}
	return "The quota of Admin API calls, which is per minute and caller, is used up: share one Dialer across the whole process, or request more at https://console.cloud.google.com/apis/api/sqladmin.googleapis.com/quotas." + next
}

// forbiddenHint tells the meanings of 403 apart, by the reasons in the answer.
func (s Subject) forbiddenHint(call *admin.CallError, api *googleapi.Error) string {
	reasons, metadata := reasonsOf(api)
	r := Refusal{Project: s.Project, Reasons: reasons, Metadata: metadata, QuotaProject: call.QuotaProject, Principal: call.Principal, Permission: permissions[call.Call]}
	return r.Hint()
}

// reasonsOf returns the reasons of a refusal in both forms that the API has,
// and what it says about them.
func reasonsOf(api *googleapi.Error) (reasons []string, metadata map[string]string) {
	for _, e := range api.Errors {
		reasons = append(reasons, e.Reason)
	}
	metadata = map[string]string{}
	for _, detail := range api.Details {
		info, _ := detail.(map[string]any) // google.rpc.ErrorInfo, among others
		if reason, ok := info["reason"].(string); ok {
			reasons = append(reasons, reason)
		}
		more, _ := info["metadata"].(map[string]any)
		for k, v := range more {
			if text, ok := v.(string); ok {
				metadata[k] = text
			}
		}
	}
	return reasons, metadata
}
