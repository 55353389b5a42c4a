package postgres_test

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/driver/postgres"
)

// Through Google's connector no context counts once its Dial has returned, which
// it does before the service has said anything.
func TestAPingThroughASilentServiceEndsWithItsContext(t *testing.T) {
	t.Parallel()
	hang := &cloudsqltest.StreamFault{Hang: true}
	for name, tt := range map[string]struct {
		arrange func(p *cloudsqltest.EmulatedInstance, d *cloudsqltest.SQLData)
		faults  func(d *cloudsqltest.SQLData) int
	}{
		"no TCP": {func(_ *cloudsqltest.EmulatedInstance, d *cloudsqltest.SQLData) {
			d.SetBehavior(cloudsqltest.Unreachable)
		}, func(d *cloudsqltest.SQLData) int { return d.Counts().Swallowed }},
		"no TLS":    {func(_ *cloudsqltest.EmulatedInstance, d *cloudsqltest.SQLData) { d.SetBehavior(cloudsqltest.Silent) }, func(d *cloudsqltest.SQLData) int { return d.Counts().Silent }},
		"no answer": {func(p *cloudsqltest.EmulatedInstance, _ *cloudsqltest.SQLData) { p.SetStreamFault(hang) }, func(d *cloudsqltest.SQLData) int { return d.Hits(hang) }},
	} {
		for _, patience := range []time.Duration{300 * time.Millisecond, 10 * time.Second} {
			t.Run(name+" in "+patience.String(), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := cloudsqltest.NewMemoryServer()
					defer s.Close()
					service := s.ServeSQLData(cloudsqltest.SQLDataConfig{})
					tt.arrange(s.AddInstance(instance, cloudsqltest.Instance{SQLData: true}), service)
					d := newDialer(t, s.Options()...)
					defer d.Close()
					connector, err := postgres.NewConnector(d, "user=app cloudsql_sql_data=only host="+instance)
					if err != nil {
						t.Fatal(err)
					}
					db := sql.OpenDB(connector)
					defer db.Close()
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					defer cancel()
					start := time.Now()
					err = db.PingContext(ctx)
					if took := time.Since(start); took > patience+100*time.Millisecond || !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("Ping ended after %v with %v", took, err)
					}
					if !strings.Contains(err.Error(), instance) {
						t.Errorf("the error does not name the instance: %v; %s", err, cloudsqlconn.Hint(err))
					}
					if tt.faults(service) == 0 {
						t.Error("the fault did not happen")
					}
				})
			})
		}
	}
}
