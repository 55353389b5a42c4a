package hint

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Refusal is what is known about a call that was forbidden.
type Refusal struct {
	Project string // of the instance

	Reasons  []string          // that the answer gives, in any of its forms
	Metadata map[string]string // of the reasons

	QuotaProject string // that the call named, or ""
	Principal    string // e-mail address of who called, or ""
	Permission   string // that the call needs; "": not known
}

// aboutRoles are the reasons that want of a role has. Sources: google.api.ErrorReason,
// and answers of the SQL Admin API that people have published: "forbidden" comes
// with nearly every 403, and says this only if no other reason is given.
var aboutRoles = []string{"notAuthorized", "IAM_PERMISSION_DENIED", "forbidden"}

// otherReasons are those that no role helps against.
var otherReasons = []struct {
	reasons []string
	hint    func(r *Refusal) string
}{
	{[]string{"accessNotConfigured", "SERVICE_DISABLED"}, func(r *Refusal) string {
		return fmt.Sprintf("Enable the Admin API in the project that the calls are counted for, which the error names: `gcloud services enable sqladmin.googleapis.com --project=%s`; this takes a few minutes.", r.consumer("PROJECT"))
	}},
	{[]string{"ACCESS_TOKEN_SCOPE_INSUFFICIENT", "insufficientPermissions"}, func(*Refusal) string {
		return "The access token lacks a scope: on Compute Engine and GKE give the machine the access scope cloud-platform (`gcloud compute instances set-service-account VM --scopes=cloud-platform`), with a login of your own run `gcloud auth application-default login` without --scopes, and have a token source ask for https://www.googleapis.com/auth/sqlservice.admin."
	}},
	{[]string{"USER_PROJECT_DENIED"}, func(r *Refusal) string {
		return fmt.Sprintf("The calls are to be counted for the project %s: grant the role roles/serviceusage.serviceUsageConsumer there to %s, or %s.", r.consumer("PROJECT"), r.who(), otherProject)
	}},
	{[]string{"BILLING_DISABLED"}, func(r *Refusal) string {
		return fmt.Sprintf("Billing is disabled in the project that the calls are counted for: `gcloud billing projects link %s --billing-account=ACCOUNT` enables it, which takes a few minutes; or %s.", r.consumer("PROJECT"), otherProject)
	}},
	{[]string{"CONSUMER_SUSPENDED"}, func(r *Refusal) string {
		return fmt.Sprintf("Google has suspended the project %s, which the calls are counted for: its owners have been told why, and can appeal in the Google Cloud console; or %s.", r.consumer("that the error names"), otherProject)
	}},
	{[]string{"CONSUMER_INVALID"}, func(r *Refusal) string {
		return fmt.Sprintf("The project %s, which the calls are to be counted for, does not exist or has been deleted: %s.", r.consumer("that the error names"), otherProject)
	}},
	{[]string{"ORG_RESTRICTION_VIOLATION"}, func(*Refusal) string {
		return "An organization restriction on this network, the header X-Goog-Allowed-Resources that an egress proxy adds, keeps the calls from that organization's resources: ask the administrators of the network to allow it."
	}},
	{[]string{"LOCATION_POLICY_VIOLATED", "LOCATION_ORG_POLICY_VIOLATED"}, func(*Refusal) string {
		return "A policy of the organization restricts locations (constraints/gcp.resourceLocations): ask its administrators to allow the instance's region."
	}},
	{[]string{"SECURITY_POLICY_VIOLATED"}, func(r *Refusal) string {
		return fmt.Sprintf("A VPC Service Controls perimeter keeps this machine or %s out of the project %s: ask the organization's administrators, with the identifier in the error.", r.who(), r.Project)
	}},
}

// otherProject is how another project takes the calls.
const otherProject = "name another project with WithQuotaProject or `gcloud auth application-default set-quota-project`"

// Hint tells the meanings of a refusal apart by its reasons.
func (r *Refusal) Hint() string {
	for _, other := range otherReasons {
		if slices.ContainsFunc(other.reasons, r.has) {
			return other.hint(r)
		}
	}
	for _, reason := range r.Reasons {
		if !slices.Contains(aboutRoles, reason) {
			return unknownReason(reason)
		}
	}
	if len(r.Reasons) == 0 {
		return "No reason was given. If a role is missing, " + r.grant()
	}
	grant := r.grant()
	return strings.ToUpper(grant[:1]) + grant[1:]
}

func (r *Refusal) has(reason string) bool { return slices.Contains(r.Reasons, reason) }

// reasonForm is that of all reasons.
var reasonForm = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{0,63}$`)

func unknownReason(reason string) string {
	if !reasonForm.MatchString(reason) {
		return ""
	}
	return fmt.Sprintf("This library does not know the reason that was given, %s; only the message can say what to do.", reason)
}

// grant is a sentence on the role that is missing, which can follow a colon.
func (r *Refusal) grant() string {
	member, orElse := "user:EMAIL", " (serviceAccount:EMAIL for a service account)"
	if who := r.who(); strings.HasSuffix(who, ".gserviceaccount.com") {
		member, orElse = "serviceAccount:"+who, ""
	}
	permission := r.Metadata["permission"]
	if !permissionForm.MatchString(permission) {
		permission = r.Permission
	}
	needs := "a permission"
	if permission != "" {
		needs = "the permission " + permission
	}
	return fmt.Sprintf("grant the role Cloud SQL Client to %s, for %s: `gcloud projects add-iam-policy-binding %s --member=%s --role=roles/cloudsql.client`%s; or correct the project's name: a wrong one is refused in the same way.",
		r.who(), needs, r.Project, member, orElse)
}

func (r *Refusal) who() string {
	if !IsEmail(r.Principal) {
		return "the account that the credentials belong to"
	}
	return r.Principal
}

// consumer is the project that the call counts for, or what stands for it.
func (r *Refusal) consumer(orElse string) string {
	for _, project := range []string{strings.TrimPrefix(r.Metadata["consumer"], "projects/"), r.QuotaProject} {
		if id := ProjectID(project); id != "" {
			return id
		}
	}
	return orElse
}

var (
	emailForm      = regexp.MustCompile(`^[A-Za-z0-9._+-]+@[A-Za-z0-9.-]+$`)
	projectForm    = regexp.MustCompile(`^[a-z0-9][a-z0-9.:-]{0,99}$`)
	permissionForm = regexp.MustCompile(`^[A-Za-z0-9]+(\.[A-Za-z0-9]+){1,4}$`)
)

// IsEmail reports whether text is an e-mail address, such as those of accounts.
func IsEmail(text string) bool { return emailForm.MatchString(text) }

// ProjectID returns the ID or the number of a project, "" if text is neither.
func ProjectID(text string) string {
	if projectForm.MatchString(text) {
		return text
	}
	return ""
}
