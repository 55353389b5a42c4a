package mysql_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/driver/mysql"
)

// register registers a driver under a name that is not taken, even with
// -count=2.
func register(t *testing.T, opts ...cloudsqlconn.Option) (name string, cleanup func() error) {
	t.Helper()
	name = "cloudsql-" + rand.Text()
	cleanup, err := mysql.RegisterDriver(name, opts...)
	wantNil(t, err)
	t.Cleanup(func() { _ = cleanup() })
	return name, cleanup
}

// Not parallel: it measures the heap.
func TestNothingIsKeptOfDataSourceNames(t *testing.T) {
	name, _ := register(t, cloudsqlconn.WithIAMAuthN(true))
	quiet := runtime.NumGoroutine()
	open := func(i int) {
		dsn := fmt.Sprintf("app%d:secret%d@cloudsql-mysql(my-project:europe-west1:db-%d)/shop?a=%01000d", i, i, i, i)
		db, err := sql.Open(name, dsn)
		wantNil(t, err)
		wantNil(t, db.Close())
		for runtime.NumGoroutine() > quiet { // database/sql's, many of which would make the heap grow
			runtime.Gosched()
		}
	}
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	open(0)
	before := heap()
	for i := range 10_000 { // of more than 1 KiB each
		open(i)
	}
	if grown := heap() - before; grown > 1<<20 {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
}

func TestClosingThePoolLeavesTheDialerOpen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, cloudsqltest.Instance{})
		defer w.close()
		for range 2 {
			db := w.open("app:secret@cloudsql-mysql(" + instance + ")/shop")
			wantNil(t, db.PingContext(t.Context()))
			wantNil(t, db.Close())
		}
		synctest.Wait()
		if n := w.instance.Accepted(); n != 2 {
			t.Errorf("%d connections, want 2", n)
		}
		c, err := w.dialer.Dial(t.Context(), instance)
		wantNil(t, err)
		wantNil(t, c.Close())
	})
}

type ctxKey struct{}

func TestTheCallersContextReachesTheDial(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		kit := cloudsqltest.NewMemoryServer()
		defer kit.Close()
		kit.AddInstance(instance, cloudsqltest.Instance{DatabaseVersion: "MYSQL_8_4"})
		var got any
		errStop := errors.New("stop")
		dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
			got = ctx.Value(ctxKey{})
			return nil, errStop
		}
		name, cleanup := register(t, append(kit.Options(), cloudsqlconn.WithDialFunc(dial))...)
		defer func() { wantNil(t, cleanup()) }()
		db, err := sql.Open(name, "app@cloudsql-mysql("+instance+")/shop")
		wantNil(t, err)
		defer db.Close()
		err = db.PingContext(context.WithValue(t.Context(), ctxKey{}, "value"))
		if !errors.Is(err, errStop) || got != "value" {
			t.Errorf("the dial saw %v; the ping returned %v", got, err)
		}
	})
}

func TestBadDataSourceNamesAreErrorsOfOpen(t *testing.T) {
	t.Parallel()
	name, _ := register(t)
	for _, dsn := range []string{"nonsense", "app@/shop", "app@cloudsql-mysql(" + instance + ")/?cloudsql_iam_authn=x"} {
		if _, err := sql.Open(name, dsn); err == nil {
			t.Errorf("sql.Open with %q: no error", dsn)
		}
	}
}

func TestRegisterDriver(t *testing.T) {
	t.Parallel()
	name, cleanup := register(t, cloudsqlconn.WithIAMAuthN(true))
	nothing, err := mysql.RegisterDriver(name)
	if !errors.Is(err, cloudsqlconn.ErrConfig) || !strings.Contains(err.Error(), "choose another name") || cloudsqlconn.Hint(err) == "" || nothing() != nil {
		t.Errorf("taken name: got %v", err)
	}
	if nothing, err := mysql.RegisterDriver(name+"-other", nil); !errors.Is(err, cloudsqlconn.ErrConfig) || nothing() != nil {
		t.Errorf("bad option: got %v, want ErrConfig", err)
	}
	db, err := sql.Open(name, "me@example.com@cloudsql-mysql("+instance+")/shop")
	wantNil(t, err)
	defer db.Close()
	wantNil(t, cleanup())
	if err := db.PingContext(t.Context()); !errors.Is(err, cloudsqlconn.ErrDialerClosed) {
		t.Errorf("after cleanup: got %v, want ErrDialerClosed", err)
	}
}
