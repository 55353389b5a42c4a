package postgres_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/driver/postgres"
)

const instance = "my-project:europe-west1:my-db"

func newDialer(t testing.TB, opts ...cloudsqlconn.Option) *cloudsqlconn.Dialer {
	t.Helper()
	d, err := cloudsqlconn.NewDialer(context.Background(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func TestDataSourceNamesWithoutAnInstanceAreRefused(t *testing.T) {
	t.Parallel()
	d := newDialer(t)
	for _, dsn := range []string{
		"user=app", "host=localhost user=app", "host=/run/postgresql user=app", "postgres://app@localhost/shop",
		"host=" + instance + ",a:b:c user=app",
	} {
		_, err := postgres.NewConnector(d, dsn)
		if !errors.Is(err, cloudsqlconn.ErrBadName) || !strings.Contains(err.Error(), "instance") {
			t.Errorf("%s: got %v, want ErrBadName", dsn, err)
		}
		if _, err := postgres.NewPool(t.Context(), d, dsn); !errors.Is(err, cloudsqlconn.ErrBadName) {
			t.Errorf("%s: NewPool: got %v, want ErrBadName", dsn, err)
		}
	}
	for _, dsn := range []string{"host=a:b:c port=x", "postgres://%zz"} {
		if _, err := postgres.NewConnector(d, dsn); err == nil {
			t.Errorf("%s: no error", dsn)
		}
		if _, err := postgres.NewPool(t.Context(), d, dsn); err == nil {
			t.Errorf("%s: NewPool: no error", dsn)
		}
	}
}

func TestConfigureLeavesOneHostAndNoTLS(t *testing.T) {
	t.Parallel()
	for _, dsn := range []string{
		"host=" + instance + " user=sa@p.iam.gserviceaccount.com dbname=shop sslmode=prefer",
		"postgres://sa%40p.iam.gserviceaccount.com@/shop?host=" + instance + "&sslmode=require",
	} {
		for iam, user := range map[bool]string{false: "sa@p.iam.gserviceaccount.com", true: "sa@p.iam"} {
			cfg, err := pgx.ParseConfig(dsn)
			if err != nil {
				t.Fatal(err)
			}
			if err := postgres.Configure(newDialer(t), cfg, cloudsqlconn.WithDialIAMAuthN(iam)); err != nil {
				t.Fatal(err)
			}
			if cfg.Host != instance || cfg.User != user || cfg.Database != "shop" || cfg.TLSConfig != nil || cfg.Fallbacks != nil {
				t.Errorf("%s, IAM %v: got host %s, user %s, TLS %v, fallbacks %v", dsn, iam, cfg.Host, cfg.User, cfg.TLSConfig, cfg.Fallbacks)
			}
			addrs, err := cfg.LookupFunc(t.Context(), instance)
			if err != nil || len(addrs) != 1 || addrs[0] != instance {
				t.Errorf("LookupFunc: %v, %v", addrs, err)
			}
		}
	}
}

// F21
func TestAPingEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := cloudsqltest.NewMemoryServer()
		defer s.Close()
		p := s.AddInstance(instance, cloudsqltest.Instance{})
		for _, addr := range p.Addrs() {
			s.Swallow(addr)
		}
		connector, err := postgres.NewConnector(newDialer(t, s.Options()...), "user=app host="+instance)
		if err != nil {
			t.Fatal(err)
		}
		db := sql.OpenDB(connector)
		defer db.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		start := time.Now()
		err = db.PingContext(ctx)
		if d := time.Since(start); d > 400*time.Millisecond || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("PingContext ended after %v with %v", d, err)
		}
		if !strings.Contains(err.Error(), instance) || strings.Contains(err.Error(), "localhost") {
			t.Errorf("the error does not name the instance: %v", err)
		}
		lost := 0
		for _, addr := range p.Addrs() {
			lost += s.Restore(addr)
		}
		if lost == 0 {
			t.Error("the fault did not happen")
		}
	})
}

func TestRegisterDriver(t *testing.T) {
	t.Parallel()
	name := "cloudsql-" + rand.Text() // the name stays taken: -count=2 needs another
	cleanup, err := postgres.RegisterDriver(name, cloudsqlconn.WithIAMAuthN())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := postgres.RegisterDriver(name); err == nil || !strings.Contains(err.Error(), "choose another name") {
		t.Errorf("taken name: got %v", err)
	}
	if _, err := postgres.RegisterDriver(name+"-other", cloudsqlconn.WithDialTimeout(-1)); !errors.Is(err, cloudsqlconn.ErrConfig) {
		t.Errorf("bad option: got %v, want ErrConfig", err)
	}
	if _, err := sql.Open(name, "user=app"); !errors.Is(err, cloudsqlconn.ErrBadName) {
		t.Errorf("bad data source name: got %v, want ErrBadName", err)
	}
	db, err := sql.Open(name, "user=app host="+instance)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := cleanup(); err != nil {
		t.Error(err)
	}
	if err := db.PingContext(t.Context()); !errors.Is(err, cloudsqlconn.ErrDialerClosed) {
		t.Errorf("after cleanup: got %v, want ErrDialerClosed", err)
	}
	// Open, for programs that look the driver up by themselves.
	if _, err := db.Driver().Open("user=app"); err == nil {
		t.Error("Open accepted a data source name without an instance")
	}
}

func FuzzNewConnector(f *testing.F) {
	f.Add("host=" + instance + " user=app password='it''s' dbname=shop")
	f.Add("postgres://app:secret@/shop?host=" + instance)
	f.Add("host=a,b")
	d := newDialer(f)
	f.Fuzz(func(t *testing.T, dsn string) {
		c, err := postgres.NewConnector(d, dsn)
		if (c == nil) == (err == nil) {
			t.Errorf("NewConnector(%q) = %v, %v", dsn, c, err)
		}
	})
}
