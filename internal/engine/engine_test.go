package engine_test

import (
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn/internal/engine"
)

func TestEnginesByTheirVersions(t *testing.T) {
	t.Parallel()
	const email = "Db@my-project.iam.gserviceaccount.com"
	for _, tt := range []struct {
		version string
		want    engine.Engine
		iam     bool
		user    string
	}{
		{"POSTGRES_16", engine.Postgres, true, "db@my-project.iam"},
		{"POSTGRES_9_6", engine.Postgres, true, "db@my-project.iam"},
		{"MYSQL_8_0", engine.MySQL, true, "db"},
		{"SQLSERVER_2022_STANDARD", engine.SQLServer, false, email},
		{"ORACLE_23", "", false, email},
		{"", "", false, email},
	} {
		e := engine.Of(tt.version)
		if e != tt.want || e.HasIAM() != tt.iam || e.IAMUser(email) != tt.user {
			t.Errorf("%q is %q, IAM %v, user %q; want %q, %v, %q", tt.version, e, e.HasIAM(), e.IAMUser(email), tt.want, tt.iam, tt.user)
		}
		if got := e.IAMUser("Alice"); got != "Alice" {
			t.Errorf("%q: Alice became %q", tt.version, got)
		}
	}
}
