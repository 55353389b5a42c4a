package postgres_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/driver/postgres"
)

// Whether the client certificate is accepted is known only when the login would be
// answered: by then Dial has returned.
func TestARefusedClientCertificateFailsNoLogin(t *testing.T) {
	t.Parallel()
	s, p := kit(t, cloudsqltest.Instance{Handler: answerSelects})
	d := newDialer(t, s.Options()...)
	pool := poolOf(t, d, "user=app host="+instance, func(*pgxpool.Config) {})
	if err := d.Warmup(t.Context(), instance); err != nil {
		t.Fatal(err)
	}
	p.RotateClientCA()
	if err := pool.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	if n := p.Counts().Rejected; n != 1 {
		t.Errorf("%d certificates were refused, want one", n)
	}
	p.RotateClientCA()
	cfg, err := pgx.ParseConfig("user=app host=" + instance)
	if err == nil {
		err = postgres.Configure(d, cfg)
	}
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if info, ok := cloudsqlconn.InfoOf(conn.PgConn().Conn()); !ok || info.Instance.String() != instance {
		t.Errorf("the connection is %+v, %v", info, ok)
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestAClientCertificateThatIsAlwaysRefusedFailsTheLogin(t *testing.T) {
	t.Parallel()
	s, p := kit(t, cloudsqltest.Instance{Handler: answerSelects, ClockSkew: 2 * time.Hour})
	pool := poolOf(t, newDialer(t, s.Options()...), "user=app host="+instance, func(*pgxpool.Config) {})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := pool.Ping(ctx)
	if !errors.Is(err, driver.ErrBadConn) || cloudsqlconn.Hint(err) == "" {
		t.Errorf("got %v, want the refusal, and a hint", err)
	}
	if n := p.Counts().Rejected; n != 2 {
		t.Errorf("%d certificates were refused, want two", n)
	}
}

// A connect that is given up while the second connection is being made ends that.
func TestALoginEndsWithItsContextAfterARefusal(t *testing.T) {
	t.Parallel()
	s, p := kit(t, cloudsqltest.Instance{Handler: answerSelects})
	d := newDialer(t, s.Options()...)
	pool := poolOf(t, d, "user=app connect_timeout=1 host="+instance, func(*pgxpool.Config) {})
	if err := d.Warmup(t.Context(), instance); err != nil {
		t.Fatal(err)
	}
	p.RotateClientCA()
	hung := make(chan struct{}, 1)
	s.OnRequest = func(*http.Request) *cloudsqltest.Fault {
		select {
		case hung <- struct{}{}:
		default:
		}
		return &cloudsqltest.Fault{Hang: true}
	}
	if err := pool.Ping(t.Context()); err == nil {
		t.Error("the login has gone well")
	}
	select {
	case <-hung:
	default:
		t.Error("the fault did not happen")
	}
}
