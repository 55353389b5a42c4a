package mysql_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/driver/mysql"
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
	for _, dsn := range []string{"app@/shop", "app@tcp(127.0.0.1:3306)/shop", "app@unix(/run/mysqld.sock)/shop", "app@cloudsql-mysql(/x)/shop"} {
		if _, err := mysql.NewConnector(d, dsn); !errors.Is(err, cloudsqlconn.ErrBadName) || !strings.Contains(err.Error(), "project:region:instance") {
			t.Errorf("%s: got %v, want ErrBadName", dsn, err)
		}
	}
	if _, err := mysql.NewConnector(d, "nonsense"); err == nil {
		t.Error("a data source name without a slash: no error")
	}
}

// F21
func TestAPingEndsWithItsContext(t *testing.T) {
	for _, network := range []string{"cloudsql-mysql", "tcp", "anything"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := cloudsqltest.NewMemoryServer()
				defer s.Close()
				p := s.AddInstance(instance, cloudsqltest.Instance{DatabaseVersion: "MYSQL_8_4"})
				p.SetBehavior(cloudsqltest.Silent)
				connector, err := mysql.NewConnector(newDialer(t, s.Options()...), "app@"+network+"("+instance+")/shop")
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
				if p.Accepted() == 0 {
					t.Error("the fault did not happen")
				}
			})
		})
	}
}

func TestRegisterDriver(t *testing.T) {
	t.Parallel()
	name := "cloudsql-" + rand.Text() // the name stays taken: -count=2 needs another
	cleanup, err := mysql.RegisterDriver(name, cloudsqlconn.WithIAMAuthN())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := mysql.RegisterDriver(name); err == nil || !strings.Contains(err.Error(), "choose another name") {
		t.Errorf("taken name: got %v", err)
	}
	if _, err := mysql.RegisterDriver(name+"-other", nil); !errors.Is(err, cloudsqlconn.ErrConfig) {
		t.Errorf("bad option: got %v, want ErrConfig", err)
	}
	db, err := sql.Open(name, "me@example.com@cloudsql-mysql("+instance+")/shop")
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
}

func FuzzNewConnector(f *testing.F) {
	f.Add("app:secret@cloudsql-mysql(" + instance + ")/shop?parseTime=true")
	f.Add("app@tcp(127.0.0.1:3306)/")
	d := newDialer(f)
	f.Fuzz(func(t *testing.T, dsn string) {
		c, err := mysql.NewConnector(d, dsn)
		if (c == nil) == (err == nil) {
			t.Errorf("NewConnector(%q) = %v, %v", dsn, c, err)
		}
	})
}
