package cloudsqlconn

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"google.golang.org/api/googleapi"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/refresh"
)

// permissions are what the calls of the Admin API need. Source: the
// documentation of their methods.
var permissions = map[string]string{
	"connectSettings":       "cloudsql.instances.get",
	"generateEphemeralCert": "cloudsql.instances.connect",
}

// callHint is for a call of the Admin API that failed.
func (s subject) callHint(call *admin.CallError, err error) string {
	var api *googleapi.Error
	if !errors.As(call, &api) {
		return transportHint(call)
	}
	if admin.Quota(call) {
		return s.quotaHint(call, err)
	}
	switch {
	case api.Code == http.StatusBadRequest:
		return "If the instance is stopped, start it: " + s.gcloud("patch", "--activation-policy=ALWAYS") + "; if it is about public_key, the key of WithPrivateKey is of a kind that the API does not take."
	case api.Code == http.StatusUnauthorized:
		return joinHints(clockHint(call.ClockOffset, theAPI), "The access token is not accepted: log in again with `gcloud auth application-default login`, or look whether the service account and its key still exist.")
	case api.Code == http.StatusForbidden:
		return s.forbiddenHint(call, api)
	case api.Code == http.StatusNotFound && call.Call == "resolveConnectSettings":
		return "No instance has this DNS name; one that exists is shown by `gcloud sql instances describe INSTANCE --format='value(dnsName)'`."
	case api.Code == http.StatusNotFound:
		return fmt.Sprintf("Compare the name with those of the project's instances: `gcloud sql instances list --project=%s --format='value(connectionName)'`.", s.project)
	case api.Code >= http.StatusInternalServerError:
		return "The Admin API is out of order; the Dialer asks again at each Dial. See https://status.cloud.google.com."
	}
	return ""
}

// impostorHint is for replies that make no sense.
const impostorHint = "Something else may have answered in place of the Admin API: look for a proxy between this machine and sqladmin.googleapis.com, and at WithAdminAPIEndpoint."

// transportHint is for a call that was not answered.
func transportHint(call *admin.CallError) string {
	if _, ok := errors.AsType[*json.SyntaxError](call); ok {
		return impostorHint
	}
	if expired(call) {
		return "By this machine's clock the Admin API's certificate is not valid: set the clock."
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](call); ok {
		return "This machine does not trust the Admin API's certificate: install the root certificates (package ca-certificates), or trust the CA of the proxy that inspects TLS."
	}
	return "Check that this machine can reach the Admin API (sqladmin.googleapis.com, TCP port 443, through HTTPS_PROXY if that is set), and try again."
}

// quotaHint tells how long to wait. The error may be remembered from before.
func (s subject) quotaHint(call *admin.CallError, err error) string {
	var age time.Duration
	if failure, ok := errors.AsType[*refresh.Failure](err); ok {
		age = failure.Age
	}
	next := ""
	if wait := admin.RetryAfter(call, time.Now().Add(-age)) - age; wait > 0 {
		next = fmt.Sprintf(" The next call comes in %d s at the earliest.", (wait+time.Second-1)/time.Second)
	}
	return "The quota of Admin API calls, so many a minute for each caller, is used up: share one Dialer in the whole process, or ask for more at https://console.cloud.google.com/apis/api/sqladmin.googleapis.com/quotas." + next
}

// forbiddenHint tells the meanings of 403 apart, by the reasons in the answer.
// Sources: google.api.ErrorReason, and the reasons of the older error format.
func (s subject) forbiddenHint(call *admin.CallError, api *googleapi.Error) string {
	reasons, metadata := reasonsOf(api)
	return s.refusedHint(forbidden{reasons, metadata, call.QuotaProject, call.Principal, permissions[call.Call]})
}

// forbidden is what is known about a call that was forbidden.
type forbidden struct {
	reasons      []string
	metadata     map[string]string // of the reasons
	quotaProject string            // that the call named, or ""
	principal    string            // who called, or ""
	permission   string            // that the call needs; "": not known
}

func (s subject) refusedHint(r forbidden) string {
	reasons, metadata := r.reasons, r.metadata
	is := func(any ...string) bool {
		return slices.ContainsFunc(any, func(r string) bool { return slices.Contains(reasons, r) })
	}
	consumer := projectID(strings.TrimPrefix(metadata["consumer"], "projects/"))
	if consumer == "" {
		consumer = projectID(r.quotaProject)
	}
	who := r.principal
	if !emailForm.MatchString(who) {
		who = "the account that the credentials belong to"
	}
	switch {
	case is("accessNotConfigured", "SERVICE_DISABLED"):
		if consumer == "" {
			consumer = "PROJECT"
		}
		return fmt.Sprintf("Enable the Admin API in the project that the error names, which is the one that the calls count for: `gcloud services enable sqladmin.googleapis.com --project=%s`; it takes a few minutes.", consumer)
	case is("ACCESS_TOKEN_SCOPE_INSUFFICIENT", "insufficientPermissions"):
		return "The access token lacks a scope: on Compute Engine and GKE give the machine the access scope cloud-platform (`gcloud compute instances set-service-account VM --scopes=cloud-platform`), with a login of your own run `gcloud auth application-default login` without --scopes, and let a token source ask for https://www.googleapis.com/auth/sqlservice.admin."
	case is("USER_PROJECT_DENIED", "CONSUMER_INVALID") && consumer != "":
		return fmt.Sprintf("The calls are to count for the project %s: grant %s the role roles/serviceusage.serviceUsageConsumer there, or name another project with WithQuotaProject or `gcloud auth application-default set-quota-project`.", consumer, who)
	case is("SECURITY_POLICY_VIOLATED"):
		return fmt.Sprintf("A VPC Service Controls perimeter keeps this machine or %s from the project %s: ask the organisation's administrators, with the identifier in the error.", who, s.project)
	}
	member, orElse := "user:EMAIL", " (serviceAccount:EMAIL for a service account)"
	if strings.HasSuffix(who, ".gserviceaccount.com") {
		member, orElse = "serviceAccount:"+who, ""
	}
	permission := metadata["permission"]
	if !permissionForm.MatchString(permission) {
		permission = r.permission
	}
	needs := "a permission"
	if permission != "" {
		needs = "the permission " + permission
	}
	return fmt.Sprintf("Grant %s the role Cloud SQL Client, for %s: `gcloud projects add-iam-policy-binding %s --member=%s --role=roles/cloudsql.client`%s; or correct the project's name, since a wrong one is refused in the same way.",
		who, needs, s.project, member, orElse)
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

// What a server or a file says goes into a command only in these forms.
var (
	emailForm      = regexp.MustCompile(`^[A-Za-z0-9._+-]+@[A-Za-z0-9.-]+$`)
	projectForm    = regexp.MustCompile(`^[a-z0-9][a-z0-9.:-]{0,99}$`)
	permissionForm = regexp.MustCompile(`^[A-Za-z0-9]+(\.[A-Za-z0-9]+){1,4}$`)
)

// projectID returns the ID or the number of a project, "" if text is neither.
func projectID(text string) string {
	if projectForm.MatchString(text) {
		return text
	}
	return ""
}
