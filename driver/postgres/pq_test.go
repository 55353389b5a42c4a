package postgres_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/driver/postgres"
)

func TestPQDialerDialsTheInstanceOfAnAddress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cloud := cloudsqltest.NewMemoryServer()
		defer cloud.Close()
		emulated := cloud.AddInstance(instance, cloudsqltest.Instance{Handler: cloudsqltest.Echo})
		cloud.AddInstance("my-project:europe-west1:other", cloudsqltest.Instance{DatabaseVersion: "MYSQL_8_4", Handler: cloudsqltest.Echo})
		d, err := cloudsqlconn.NewDialer(t.Context(), cloud.Options()...)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		pq := postgres.PQDialer{Dialer: d}

		addr := "[" + instance + "]:5432"
		for range 2 {
			c, err := pq.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			_ = c.Close()
		}
		if _, err := pq.Dial("tcp", "[my-project:europe-west1:other]:5432"); !errors.Is(err, cloudsqlconn.ErrConfig) {
			t.Errorf("an instance of MySQL: got %v", err)
		}
		if _, err := pq.Dial("tcp", "localhost:5432"); !errors.Is(err, cloudsqlconn.ErrBadName) {
			t.Errorf("no instance: got %v", err)
		}

		emulated.SetBehavior(cloudsqltest.StallHandshake)
		start := time.Now()
		if _, err := pq.DialTimeout("tcp", addr, time.Second); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("DialTimeout ended after %v with %v", time.Since(start), err)
		}
		if emulated.Counts().Stalled == 0 {
			t.Error("the fault did not happen")
		}
	})
}
