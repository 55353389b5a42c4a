package mysql_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

const instance = "my-project:europe-west1:my-db"

func newDialer(t testing.TB, opts ...cloudsqlconn.Option) *cloudsqlconn.Dialer {
	t.Helper()
	d, err := cloudsqlconn.NewDialer(context.Background(), opts...)
	wantNil(t, err)
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// F21
func TestAPingEndsWithItsContext(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"cloudsql-mysql", "tcp", "anything"} {
		for _, fault := range []cloudsqltest.Behavior{cloudsqltest.Silent, cloudsqltest.Unreachable} {
			t.Run(network+"/"+fault.String(), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, cloudsqltest.Instance{})
					defer w.close()
					w.instance.SetBehavior(fault)
					db := w.open("app@" + network + "(" + instance + ")/shop")
					defer db.Close()
					ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
					defer cancel()
					start := time.Now()
					err := db.PingContext(ctx)
					if d := time.Since(start); d > 400*time.Millisecond || !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("PingContext ended after %v with %v", d, err)
					}
					if c := w.instance.Counts(); c.Silent+c.Swallowed == 0 {
						t.Error("the fault did not happen")
					}
				})
			})
		}
	}
}

// F15
func TestNobodyNoticesThatTheClientCertificateIsRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, cloudsqltest.Instance{})
		defer w.close()
		db := w.open("app:secret@cloudsql-mysql(" + instance + ")/shop")
		defer db.Close()
		db.SetMaxIdleConns(-1)
		wantNil(t, db.PingContext(t.Context()))
		w.instance.RotateClientCA()
		wantNil(t, db.PingContext(t.Context()))
		synctest.Wait()
		if n := w.instance.Counts().Rejected; n != 1 {
			t.Errorf("%d handshakes rejected, want 1", n)
		}
	})
}
