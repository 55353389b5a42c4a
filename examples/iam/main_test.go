package main

import (
	"os"
	"strings"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/examples/internal/exampletest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/authtest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/testmain"
)

func TestMain(m *testing.M) { os.Exit(testmain.Run(m)) }

const dsn = "host=my-project:europe-west1:my-db dbname=shop"

// The servers that give tokens are emulated too, so that the credentials are
// such as a machine has.
func TestLogsInAsTheAccountOfTheCredentials(t *testing.T) {
	t.Parallel()
	cloud := exampletest.Postgres(t,
		`CREATE ROLE "app@my-project.iam" LOGIN`, `CREATE ROLE "batch@my-project.iam" LOGIN`, `CREATE ROLE "me@example.com" LOGIN`)
	google := authtest.NewServer(cloud.Token(), cloud.LoginToken())
	defer google.Close()
	for _, tt := range []struct {
		name, dsn   string
		credentials []byte
		impersonate string
		want        string
	}{
		{"service account", dsn, google.ServiceAccount(), "",
			"account of the credentials: app@my-project.iam.gserviceaccount.com\ndatabase user: app@my-project.iam\n"},
		{"impersonation", dsn, google.ServiceAccount(), "batch@my-project.iam.gserviceaccount.com",
			"account of the credentials: batch@my-project.iam.gserviceaccount.com\ndatabase user: batch@my-project.iam\n"},
		{"user", dsn + " user=me@example.com", google.User(), "",
			"account of the credentials: unknown\ndatabase user: me@example.com\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			err := run(t.Context(), tt.dsn, tt.impersonate, &out,
				cloudsqlconn.WithCredentialsJSON(tt.credentials),
				cloudsqlconn.WithHTTPClient(google.Client()), // impersonation is at a fixed address
				cloudsqlconn.WithAdminAPIEndpoint(cloud.URL()),
				cloudsqlconn.WithDialFunc(cloud.DialContext))
			if err != nil {
				t.Fatal(err)
			}
			if out.String() != tt.want {
				t.Errorf("got %q, want %q", out.String(), tt.want)
			}
		})
	}
}

func TestSaysWhatToDoWithoutPermission(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	report(&out, run(t.Context(), dsn+" user=me@example.com", "", &out, exampletest.Forbid(t).Options()...))
	if !strings.Contains(out.String(), exampletest.Hint) {
		t.Errorf("got %q", out.String())
	}
}

func TestAsksForAUserThatNobodyCanTell(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	err := run(t.Context(), dsn, "", &out, exampletest.Forbid(t).Options()...)
	if err == nil || !strings.Contains(err.Error(), "add the user") {
		t.Errorf("got %v", err)
	}
}
