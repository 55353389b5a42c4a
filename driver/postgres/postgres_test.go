package postgres_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgxpool"

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

// lines returns the lines of a file of data source names.
func lines(t testing.TB, file string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(strings.Split(strings.TrimSpace(string(text)), "\n"), func(line string) bool {
		return strings.HasPrefix(line, "#")
	})
}

// Each reaches the instance, and none tells the server what is for the Dialer.
func TestGoodDataSourceNames(t *testing.T) {
	t.Parallel()
	const enough = "far enough"
	for _, dsn := range lines(t, "good.txt") {
		t.Run(dsn, func(t *testing.T) {
			t.Parallel()
			var params map[string]string
			s := cloudsqltest.NewServer()
			defer s.Close()
			p := s.AddInstance(instance, cloudsqltest.Instance{Handler: func(c net.Conn) {
				backend := pgproto3.NewBackend(c, c)
				if msg, err := backend.ReceiveStartupMessage(); err == nil {
					params = msg.(*pgproto3.StartupMessage).Parameters
				}
				backend.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "57P03", Message: enough})
				_ = backend.Flush()
			}, Addrs: map[cloudsqlconn.IPType]string{cloudsqlconn.PublicIP: "127.8.0.1", cloudsqlconn.PrivateIP: "127.8.0.2", cloudsqlconn.PSC: "a.b.europe-west1.sql-psc.goog"}})
			connector, err := postgres.NewConnector(newDialer(t, s.Options()...), dsn)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := connector.Connect(t.Context()); err == nil || !strings.Contains(err.Error(), enough) {
				t.Fatalf("got %v, want the server's answer", err)
			}
			if p.Counts().Handshakes != 1 {
				t.Errorf("%d connections, want 1", p.Counts().Handshakes)
			}
			s.Close() // waits for the handler
			for name := range params {
				if strings.HasPrefix(name, "cloudsql") {
					t.Errorf("the server was told %s", name)
				}
			}
			if user := params["user"]; user != "app" && user != "sa@my-project.iam" {
				t.Errorf("the user is %q", user)
			}
		})
	}
}

func TestBadDataSourceNames(t *testing.T) {
	t.Parallel()
	d := newDialer(t)
	for _, line := range lines(t, "bad.txt") {
		tells, dsn, _ := strings.Cut(line, "|")
		_, err := postgres.NewConnector(d, dsn)
		if err == nil || !strings.Contains(err.Error(), tells) {
			t.Errorf("%s: got %v, want an error that tells %q", dsn, err, tells)
		}
		if e, ok := errors.AsType[*cloudsqlconn.Error](err); !ok || e.Op != cloudsqlconn.OpConfig || e.Hint == "" || !errors.Is(err, cloudsqlconn.ErrBadName) && !errors.Is(err, cloudsqlconn.ErrConfig) {
			t.Errorf("%s: got %#v", dsn, err)
		}
		if strings.Contains(err.Error(), "et-word") {
			t.Errorf("%s: a password is shown: %v", dsn, err)
		}
		if tells == "instance" && !errors.Is(err, cloudsqlconn.ErrBadName) || strings.HasPrefix(tells, "cloudsql") && !errors.Is(err, cloudsqlconn.ErrConfig) {
			t.Errorf("%s: %v has the wrong sentinel", dsn, err)
		}
		if _, poolErr := postgres.NewPool(t.Context(), d, dsn); poolErr == nil || poolErr.Error() != err.Error() {
			t.Errorf("%s: NewPool: got %v, want %v", dsn, poolErr, err)
		}
	}
}

func TestTheEnvironmentAndFilesOfLibpqCount(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Setenv("PGSERVICEFILE", write("services", "[shop]\nhost="+instance+"\nuser=app\ndbname=shop\n"))
	t.Setenv("PGPASSFILE", write("passwords", `my-project\:europe-west1\:my-db:*:*:app:secret`+"\n"))
	for name, tt := range map[string]struct {
		env map[string]string
		dsn string
	}{
		"service in the data source name": {dsn: "service=shop"},
		"service in the environment":      {env: map[string]string{"PGSERVICE": "shop"}},
		"variables":                       {env: map[string]string{"PGHOST": instance, "PGUSER": "app", "PGDATABASE": "shop"}},
		"variables and a part":            {env: map[string]string{"PGHOST": instance, "PGUSER": "somebody"}, dsn: "user=app dbname=shop"},
	} {
		t.Run(name, func(t *testing.T) {
			for k, v := range tt.env {
				t.Setenv(k, v)
			}
			cfg, err := pgx.ParseConfig(tt.dsn)
			if err != nil {
				t.Fatal(err)
			}
			if err := postgres.Configure(newDialer(t), cfg); err != nil {
				t.Fatal(err)
			}
			if cfg.Host != instance || cfg.User != "app" || cfg.Password != "secret" || cfg.Database != "shop" {
				t.Errorf("host %s, user %s, database %s, password found: %v", cfg.Host, cfg.User, cfg.Database, cfg.Password == "secret")
			}
		})
	}
}

// 10,000 of them leave no more behind than 100.
func TestDataSourceNamesLeaveNothingBehind(t *testing.T) {
	name := "cloudsql-" + rand.Text()
	cleanup, err := postgres.RegisterDriver(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cleanup() }()
	quiet := runtime.NumGoroutine()
	open := func(n int) uint64 {
		for i := range n {
			db, err := sql.Open(name, fmt.Sprintf("host=%s user=app%d dbname=shop", instance, i))
			if err != nil {
				t.Fatal(err)
			}
			_ = db.Close()
			for runtime.NumGoroutine() > quiet { // database/sql's, many of which would make the heap grow
				runtime.Gosched()
			}
		}
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := open(100)
	if grown := int64(open(10_000)) - int64(before); grown > 1<<20 {
		t.Errorf("10,000 data source names left %d bytes", grown)
	}
}

func TestAnInstanceOfAnotherEngineIsRefused(t *testing.T) {
	t.Parallel()
	s := cloudsqltest.NewServer()
	defer s.Close()
	heard := make(chan int, 1)
	s.AddInstance(instance, cloudsqltest.Instance{DatabaseVersion: "MYSQL_8_4", Handler: func(c net.Conn) {
		n, _ := c.Read(make([]byte, 1))
		heard <- n
	}})
	connector, err := postgres.NewConnector(newDialer(t, s.Options()...), "user=app host="+instance)
	if err != nil {
		t.Fatal(err)
	}
	_, err = connector.Connect(t.Context())
	var e *cloudsqlconn.Error
	if !errors.Is(err, cloudsqlconn.ErrConfig) || !errors.As(err, &e) || !strings.Contains(e.Error(), "MYSQL_8_4") || !strings.Contains(e.Hint, "driver/mysql") {
		t.Errorf("got %v", err)
	}
	if n := <-heard; n != 0 {
		t.Error("the server was sent something")
	}
}

func TestAWrongDialOptionIsAnErrorOfTheConstructors(t *testing.T) {
	t.Parallel()
	d, dsn, wrong := newDialer(t), "user=app host="+instance, cloudsqlconn.WithDialTimeout(-1)
	cfg, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	_, connector := postgres.NewConnector(d, dsn, wrong)
	_, pool := postgres.NewPool(t.Context(), d, dsn, wrong)
	_, registered := postgres.RegisterDriver("cloudsql-"+rand.Text(), wrong)
	for name, err := range map[string]error{
		"NewConnector": connector, "NewPool": pool, "RegisterDriver": registered,
		"Configure": postgres.Configure(d, cfg.ConnConfig, wrong), "ConfigurePool": postgres.ConfigurePool(d, cfg, wrong),
	} {
		if told, ok := errors.AsType[*cloudsqlconn.Error](err); !ok || told.Op != cloudsqlconn.OpConfig || !errors.Is(err, cloudsqlconn.ErrConfig) || !strings.Contains(err.Error(), "WithDialTimeout") {
			t.Errorf("%s: got %v", name, err)
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
			if err := postgres.Configure(newDialer(t), cfg, cloudsqlconn.WithIAMAuthN(iam)); err != nil {
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

// registered registers a driver, under a name that is not taken: it stays so, and
// -count=2 needs another.
func registered(t *testing.T, opts ...cloudsqlconn.Option) (name string) {
	t.Helper()
	name = "cloudsql-" + rand.Text()
	cleanup, err := postgres.RegisterDriver(name, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cleanup() })
	return name
}

func TestRegisterDriver(t *testing.T) {
	t.Parallel()
	name := "cloudsql-" + rand.Text() // the name stays taken: -count=2 needs another
	cleanup, err := postgres.RegisterDriver(name, cloudsqlconn.WithIAMAuthN(true))
	if err != nil {
		t.Fatal(err)
	}
	nothing, err := postgres.RegisterDriver(name)
	if !errors.Is(err, cloudsqlconn.ErrConfig) || !strings.Contains(err.Error(), "choose another name") || cloudsqlconn.Hint(err) == "" || nothing() != nil {
		t.Errorf("taken name: got %v", err)
	}
	nothing, err = postgres.RegisterDriver(name+"-other", cloudsqlconn.WithDialTimeout(-1))
	if !errors.Is(err, cloudsqlconn.ErrConfig) || nothing() != nil {
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
	for _, dsn := range lines(f, "good.txt") {
		f.Add(dsn)
	}
	for _, line := range lines(f, "bad.txt") {
		_, dsn, _ := strings.Cut(line, "|")
		f.Add(dsn)
	}
	d := newDialer(f)
	f.Fuzz(func(t *testing.T, dsn string) {
		c, err := postgres.NewConnector(d, dsn)
		if (c == nil) == (err == nil) {
			t.Errorf("NewConnector(%q) = %v, %v", dsn, c, err)
		}
	})
}

// pgx tells no more than "timeout: context deadline exceeded" of an error that
// has a timeout in it: the addresses that were tried and the hint were lost.
func TestADialThatEndsWithItsContextTellsWhy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := cloudsqltest.NewMemoryServer()
		defer s.Close()
		s.AddInstance(instance, cloudsqltest.Instance{}).SetBehavior(cloudsqltest.Unreachable)
		d := newDialer(t, s.Options()...)
		defer d.Close()
		c, err := postgres.NewConnector(d, "host="+instance+" user=app password=secret")
		if err != nil {
			t.Fatal(err)
		}
		db := sql.OpenDB(c)
		defer db.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		err = db.PingContext(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || cloudsqlconn.Hint(err) == "" || !strings.Contains(err.Error(), "PUBLIC 127.") {
			t.Errorf("got %v with the hint %q", err, cloudsqlconn.Hint(err))
		}
	})
}
