package hint_test

import (
	"strings"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn/internal/hint"
)

func TestHintsOfRefusals(t *testing.T) {
	const role = "roles/cloudsql.client"
	for _, tt := range []struct {
		reasons  []string
		metadata map[string]string
		want     string
		role     bool // whether the role Cloud SQL Client helps
	}{
		{reasons: []string{"notAuthorized"}, want: "Grant the role", role: true},
		{reasons: []string{"forbidden"}, want: "cloudsql.instances.get", role: true},
		{reasons: []string{"forbidden", "IAM_PERMISSION_DENIED"}, metadata: map[string]string{"permission": "a.b.c"}, want: "the permission a.b.c", role: true},
		{reasons: nil, want: "No reason was given. If a role is missing, grant", role: true},
		{reasons: []string{"forbidden", "BILLING_DISABLED"}, metadata: map[string]string{"consumer": "projects/12"}, want: "gcloud billing projects link 12"},
		{reasons: []string{"forbidden", "BILLING_DISABLED"}, metadata: map[string]string{"consumer": "projects/`reboot`"}, want: "gcloud billing projects link PROJECT"},
		{reasons: []string{"CONSUMER_SUSPENDED"}, want: "suspended the project that the error names"},
		{reasons: []string{"CONSUMER_INVALID"}, want: "does not exist"},
		{reasons: []string{"USER_PROJECT_DENIED"}, want: "roles/serviceusage.serviceUsageConsumer"},
		{reasons: []string{"ORG_RESTRICTION_VIOLATION"}, want: "organization restriction"},
		{reasons: []string{"LOCATION_POLICY_VIOLATED"}, want: "gcp.resourceLocations"},
		{reasons: []string{"LOCATION_ORG_POLICY_VIOLATED"}, want: "gcp.resourceLocations"},
		{reasons: []string{"SECURITY_POLICY_VIOLATED"}, want: "VPC Service Controls"},
		{reasons: []string{"forbidden", "SERVICE_DISABLED"}, want: "gcloud services enable"},
		{reasons: []string{"insufficientPermissions"}, want: "lacks a scope"},
		{reasons: []string{"forbidden", "SOMETHING_NEW"}, want: "SOMETHING_NEW"},
		{reasons: []string{"forbidden", "something `odd`"}, want: ""},
	} {
		r := hint.Refusal{Project: "my-project", Reasons: tt.reasons, Metadata: tt.metadata, Permission: "cloudsql.instances.get"}
		got := r.Hint()
		if !strings.Contains(got, tt.want) || tt.want == "" && got != "" || strings.Contains(got, role) != tt.role || strings.Contains(got, "reboot") {
			t.Errorf("%v: got %q, want %q, and the role: %v", tt.reasons, got, tt.want, tt.role)
		}
	}
}

func TestHintsNameWhoIsRefused(t *testing.T) {
	for principal, want := range map[string]string{
		"app@my-project.iam.gserviceaccount.com": "--member=serviceAccount:app@my-project.iam.gserviceaccount.com ",
		"":                                       "--member=user:EMAIL ",
		"`reboot`@x":                             "--member=user:EMAIL ",
	} {
		r := hint.Refusal{Project: "my-project", Reasons: []string{"notAuthorized"}, Principal: principal}
		if got := r.Hint(); !strings.Contains(got, want) {
			t.Errorf("%q: got %q, want %q", principal, got, want)
		}
	}
}
