package bench

import (
	"fmt"
	"testing"

	// What the programs import has to be in go.sum.
	_ "cloud.google.com/go/cloudsqlconn/mysql/mysql"
	_ "cloud.google.com/go/cloudsqlconn/postgres/pgxv5"
	_ "cloud.google.com/go/cloudsqlconn/sqlserver/mssql"

	_ "github.com/cloudsqlconn/cloudsqlconn/driver/mysql"
	_ "github.com/cloudsqlconn/cloudsqlconn/driver/postgres"
	_ "github.com/cloudsqlconn/cloudsqlconn/driver/sqlserver"
)

func TestMinimalProgramBuilds(t *testing.T) {
	t.Parallel()
	size, packages, err := build(t.Context(), t.TempDir(), fmt.Sprintf(dialProgram, oursPath))
	wantNil(t, err)
	if size < 1e6 || packages < 10 {
		t.Errorf("%.0f bytes, %d packages", size, packages)
	}
}
