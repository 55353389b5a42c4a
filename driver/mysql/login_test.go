package mysql_test

import (
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/mysqlserver"
)

func TestLogins(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		user string
		want []mysqlserver.Path // of one login after the other
	}{
		{"app:secret", []mysqlserver.Path{mysqlserver.FullRSA, mysqlserver.Fast, mysqlserver.Fast}},
		{"native:secret", []mysqlserver.Path{mysqlserver.Scrambled, mysqlserver.Scrambled}},
		{"clear:secret", []mysqlserver.Path{mysqlserver.Clear, mysqlserver.Clear}},
		{"me", []mysqlserver.Path{mysqlserver.NoPassword}},
	} {
		t.Run(c.user, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, cloudsqltest.Instance{})
				defer w.close()
				db := w.open(c.user + "@cloudsql-mysql(" + instance + ")/shop")
				defer db.Close()
				db.SetMaxIdleConns(-1)
				for range c.want {
					var one int
					wantNil(t, db.QueryRowContext(t.Context(), "SELECT 1").Scan(&one))
				}
				w.wantPaths(c.want...)
			})
		})
	}
}

// wantPaths checks by what paths the logins went, all of them successful.
func (w *world) wantPaths(want ...mysqlserver.Path) {
	w.t.Helper()
	var got []mysqlserver.Path
	for _, l := range w.mysql.Logins() {
		got = append(got, l.Path)
		if !l.OK {
			w.t.Errorf("refused: %+v", l)
		}
	}
	if !slices.Equal(got, want) {
		w.t.Errorf("the logins went by %q, want %q", got, want)
	}
}

func TestAnotherEngineIsAnErrorBeforeAnythingIsSent(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"POSTGRES_16", "SQLSERVER_2022_STANDARD"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				received := make(chan []byte, 10)
				w := newWorld(t, cloudsqltest.Instance{DatabaseVersion: version, Handler: func(c net.Conn) {
					b, _ := io.ReadAll(c)
					received <- b
				}})
				db := w.open("app:secret@cloudsql-mysql(" + instance + ")/shop")
				defer db.Close()
				err := db.PingContext(t.Context())
				if !errors.Is(err, cloudsqlconn.ErrConfig) || !strings.Contains(err.Error(), version) || !strings.Contains(err.Error(), "driver/mysql") {
					t.Errorf("got %v, want ErrConfig that names both engines", err)
				}
				stats := w.dialer.Instances()
				w.close() // waits for the handler
				close(received)
				for b := range received {
					if len(b) > 0 {
						t.Errorf("the server was sent %q", b)
					}
				}
				if len(stats) != 1 || stats[0].BytesWritten != 0 || w.instance.Accepted() != 1 {
					t.Errorf("%d connections; the Dialer says %+v", w.instance.Accepted(), stats)
				}
			})
		})
	}
}
