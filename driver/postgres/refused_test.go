package postgres_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
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

// pgx does not tell whether its request to cancel a query has come to anything.
func TestARefusedClientCertificateLosesNoRequestToCancel(t *testing.T) {
	t.Parallel()
	var canceled atomic.Int32
	s, p := kit(t, cloudsqltest.Instance{Handler: func(c net.Conn) {
		backend := pgproto3.NewBackend(c, c)
		first, err := backend.ReceiveStartupMessage()
		if _, ok := first.(*pgproto3.CancelRequest); ok {
			canceled.Add(1)
		}
		if _, ok := first.(*pgproto3.StartupMessage); err != nil || !ok {
			return
		}
		backend.Send(&pgproto3.AuthenticationOk{})
		backend.Send(&pgproto3.BackendKeyData{ProcessID: 1, SecretKey: []byte("four")})
		backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		if backend.Flush() == nil {
			_, _ = backend.Receive()
		}
	}})
	cfg, err := pgx.ParseConfig("user=app host=" + instance)
	if err == nil {
		err = postgres.Configure(newDialer(t, s.Options()...), cfg)
	}
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	p.RotateClientCA()
	if err := conn.PgConn().CancelRequest(t.Context()); err != nil {
		t.Error(err)
	}
	if n := p.Counts().Rejected; n != 1 {
		t.Errorf("%d certificates were refused, want one", n)
	}
	if n := canceled.Load(); n != 1 {
		t.Errorf("%d requests have come, want one", n)
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// A program's function may find in the context what it connects with.
func TestTheDialAfterARefusalHasTheValuesOfTheContext(t *testing.T) {
	t.Parallel()
	type key struct{}
	s, p := kit(t, cloudsqltest.Instance{Handler: answerSelects})
	var dials, found atomic.Int32
	d := newDialer(t, append(s.Options(), cloudsqlconn.WithDialFunc(func(ctx context.Context, network, addr string) (net.Conn, error) {
		dials.Add(1)
		if ctx.Value(key{}) != nil {
			found.Add(1)
		}
		return s.DialContext(ctx, network, addr)
	}))...)
	if err := d.Warmup(t.Context(), instance); err != nil {
		t.Fatal(err)
	}
	pool := poolOf(t, d, "user=app host="+instance, func(*pgxpool.Config) {})
	p.RotateClientCA()
	if err := pool.Ping(context.WithValue(t.Context(), key{}, true)); err != nil {
		t.Fatal(err)
	}
	if dials, found := dials.Load(), found.Load(); dials != 2 || found != dials {
		t.Errorf("%d of %d Dials had the values, want both of two", found, dials)
	}
}

// pgx closes the connection to one host while it connects to the next, with the same
// configuration.
func TestTheNextHostIsTriedWhileTheConnectionToTheLastIsClosed(t *testing.T) {
	t.Parallel()
	const second = "my-project:europe-west1:second"
	for name, first := range map[string]cloudsqltest.Instance{
		"a refused certificate": {Handler: answerSelects, ClockSkew: 2 * time.Hour},
		"a refused user":        {Handler: refuse("28000")},
		"the end":               {Handler: func(net.Conn) {}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, p := kit(t, first)
			next := s.AddInstance(second, cloudsqltest.Instance{Handler: answerSelects})
			pool := poolOf(t, newDialer(t, s.Options()...), "user=app host="+instance+","+second, func(*pgxpool.Config) {})
			for range 5 {
				if err := pool.Ping(t.Context()); err != nil {
					t.Error(err)
				}
				pool.Reset()
			}
			if p.Accepted() < 5 || next.Accepted() < 5 {
				t.Errorf("%d and %d connections to the hosts, want 5 and 5 at least", p.Accepted(), next.Accepted())
			}
		})
	}
}
