package e2e

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/driver/postgres"
)

// A connection of pgx itself, by a configuration of the program's own.
func TestPgxConn(t *testing.T) {
	eachPostgres(t, func(t *testing.T, e *engine) {
		i := e.newInstance(t)
		cfg, err := pgx.ParseConfig(i.dsn(instanceName, iam, i.database))
		wantNil(t, err)
		cfg.RuntimeParams["application_name"] = "e2e"
		wantNil(t, postgres.Configure(i.dialer, cfg, cloudsqlconn.WithIAMAuthN(true)))
		c, err := pgx.ConnectConfig(t.Context(), cfg)
		wantNil(t, err)
		var user, application string
		wantNil(t, c.QueryRow(t.Context(), "select current_user, current_setting('application_name')").Scan(&user, &application))
		if user != i.iamUser || application != "e2e" {
			t.Errorf("user %q, application %q", user, application)
		}
		wantNil(t, c.Close(t.Context()))
		if n := i.emulated.Accepted(); n != 1 {
			t.Errorf("%d connections, want 1: one connect is one Dial", n)
		}
	})
}
