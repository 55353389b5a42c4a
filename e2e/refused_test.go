package e2e

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/driver/mysql"
)

// With TLS 1.3 an instance refuses a client certificate only after the
// handshake, so that the first Read fails and not the Dial.
func TestNobodyNoticesThatTheClientCertificateWasRefused(t *testing.T) {
	eachEngine(t, func(t *testing.T, e *engine) {
		i := e.newInstance(t)
		other := i.newDialer(t) // has a certificate of its own
		db := i.open(t, app)
		wantNil(t, other.Warmup(t.Context(), instanceName))
		wantNil(t, i.dialer.Warmup(t.Context(), instanceName))
		i.emulated.RotateClientCA()

		wantRefused(t, other)
		before := i.emulated.Accepted()
		wantAnswer(t, db)
		if got := i.emulated.Accepted() - before; got < 2 {
			t.Errorf("%d connections for one query, want a refused one and a good one", got)
		}
	})
}

// pgx connects by itself, and database/sql is not there to connect again.
func TestNoPgxPoolNoticesThatTheClientCertificateWasRefused(t *testing.T) {
	eachPostgres(t, func(t *testing.T, e *engine) {
		for _, byIAM := range []bool{false, true} {
			t.Run(fmt.Sprintf("IAM %v", byIAM), func(t *testing.T) {
				i := e.newInstance(t)
				other := i.newDialer(t) // has a certificate of its own
				who := app
				if byIAM {
					who = iam
				}
				pool := i.openPool(t, who, cloudsqlconn.WithIAMAuthN(byIAM))
				wantNil(t, other.Warmup(t.Context(), instanceName))
				wantNil(t, i.dialer.Warmup(t.Context(), instanceName, cloudsqlconn.WithIAMAuthN(byIAM)))
				i.emulated.RotateClientCA()

				wantRefused(t, other)
				before := i.emulated.Accepted()
				wantNil(t, pool.Ping(t.Context()))
				if got := i.emulated.Accepted() - before; got < 2 {
					t.Errorf("%d connections for one query, want a refused one and a good one", got)
				}
			})
		}
	})
}

// wantRefused checks that the instance refuses the certificate that d has.
func wantRefused(t *testing.T, d *cloudsqlconn.Dialer) {
	t.Helper()
	c, err := d.Dial(t.Context(), instanceName)
	wantNil(t, err)
	defer c.Close()
	_, err = io.ReadFull(c, make([]byte, 1))
	var e *cloudsqlconn.Error
	if !errors.As(err, &e) || e.Op != "handshake" {
		t.Fatalf("the first Read fails with %v, want a *cloudsqlconn.Error of the handshake", err)
	}
}

// An engine other than the driver's is told before anything is sent to it.
func TestTheWrongDriver(t *testing.T) {
	t.Parallel()
	i := postgresEngine.newInstance(t)
	c, err := mysql.NewConnector(i.dialer, "app@cloudsql-mysql("+instanceName+")/x")
	wantNil(t, err)
	_, err = c.Connect(t.Context())
	wantError(t, err, cloudsqlconn.ErrConfig)
}
