package e2e

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	mssql "github.com/microsoft/go-mssqldb"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/tds"
	"github.com/cloudsqlconn/cloudsqlconn/driver/sqlserver"
)

// No real SQL Server can be installed for a test: this is the kit's.

// newSQLServer returns a Dialer that reaches an instance with db behind it, on
// real sockets.
func newSQLServer(t *testing.T, db *tds.Server) (*cloudsqlconn.Dialer, *cloudsqltest.EmulatedInstance, *network) {
	t.Helper()
	kit := cloudsqltest.NewServer()
	t.Cleanup(kit.Close)
	emulated := kit.AddInstance(instanceName, cloudsqltest.Instance{DatabaseVersion: "SQLSERVER_2022_STANDARD", Handler: db.Serve})
	way := &network{kit: kit}
	d, err := cloudsqlconn.NewDialer(t.Context(), append(kit.Options(), cloudsqlconn.WithDialFunc(way.DialContext))...)
	wantNil(t, err)
	t.Cleanup(func() { wantNil(t, d.Close()) })
	return d, emulated, way
}

func openSQLServer(t *testing.T, d *cloudsqlconn.Dialer, dsn string) *sql.DB {
	t.Helper()
	c, err := sqlserver.NewConnector(d, dsn)
	wantNil(t, err)
	db := sql.OpenDB(c)
	t.Cleanup(func() { _ = db.Close() }) // fails if a connection has been cut
	return db
}

func TestSQLServerAnswers(t *testing.T) {
	t.Parallel()
	began := make(chan struct{})
	server := &tds.Server{
		Users: map[string]string{"app": "secret"},
		Handle: func(ctx context.Context, q tds.Query) (tds.Result, error) {
			if q.Text == "waitfor delay '1:0'" {
				close(began)
				<-ctx.Done()
				return tds.Result{}, ctx.Err()
			}
			return tds.Result{Columns: []tds.Column{{Type: tds.BigInt}}, Rows: [][]any{{q.Params[0].Value.(int64) * 7}}}, nil
		},
	}
	d, _, _ := newSQLServer(t, server)
	db := openSQLServer(t, d, "sqlserver://app:secret@localhost?database=shop&cloudsql="+instanceName)
	if got := value[int](t, db, "select @p1 * 7", 6); got != 42 {
		t.Errorf("6 * 7 is %d", got)
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := inBackground(func() error {
		_, err := db.ExecContext(ctx, "waitfor delay '1:0'")
		return err
	})
	<-began
	cancel()
	wantError(t, <-ended, context.Canceled)
	if got := value[int](t, db, "select @p1 * 7", 1); got != 7 {
		t.Errorf("1 * 7 is %d", got)
	}
	all := server.Sessions()
	if len(all) != 1 || all[0].Attentions != 1 || all[0].Login.Database != "shop" {
		t.Errorf("got %+v", all)
	}

}

func TestSQLServerRefusesTheseLogins(t *testing.T) {
	t.Parallel()
	d, _, _ := newSQLServer(t, &tds.Server{Users: map[string]string{"app": "secret"}, Databases: []string{"shop"}})
	for _, tt := range []struct{ user, database, hint string }{
		{"app:wr0ng", "shop", "`gcloud sql users set-password app --instance=my-db --project=my-project --prompt-for-password`"},
		{"app", "shop", "No password was given"},
		{"app:secret", "missing", "`gcloud sql databases list --instance=my-db --project=my-project`"},
	} {
		err := openSQLServer(t, d, "sqlserver://"+tt.user+"@localhost?database="+tt.database+"&cloudsql="+instanceName).PingContext(t.Context())
		if e, ok := errors.AsType[mssql.Error](err); !ok || e.Number != 18456 || (len(e.All) == 2) != (tt.database == "missing") {
			t.Errorf("%s: got %v, want error 18456", tt.user, err)
		}
		wantHint(t, err, tt.hint)
	}
	wantNil(t, openSQLServer(t, d, "sqlserver://app:secret@localhost?database=shop&cloudsql="+instanceName).PingContext(t.Context()))
}

// go-mssqldb would have them fail once.
func TestNobodyNoticesThatIdleSQLServerConnectionsWereCut(t *testing.T) {
	t.Parallel()
	for _, withReset := range []bool{true, false} {
		server := &tds.Server{}
		d, emulated, way := newSQLServer(t, server)
		db := openSQLServer(t, d, "server=localhost;cloudsql="+instanceName)
		wantNil(t, db.PingContext(t.Context()))
		if n := emulated.CutConnections(withReset); n != 1 {
			t.Fatalf("%d connections were cut, want 1", n)
		}
		way.waitHeard(t)
		wantNil(t, db.PingContext(t.Context()))
		if n := len(server.Sessions()); n != 2 {
			t.Errorf("%d sessions, want 2", n)
		}
	}
}

func TestRawGivesTheConnectionOfGoMSSQLDB(t *testing.T) {
	t.Parallel()
	d, _, _ := newSQLServer(t, &tds.Server{})
	c, err := openSQLServer(t, d, "server=localhost;cloudsql="+instanceName).Conn(t.Context())
	wantNil(t, err)
	defer c.Close()
	wantNil(t, c.Raw(func(raw any) error {
		return (*mssql.Conn).Ping(raw.(*sqlserver.Conn).Conn, t.Context())
	}))
}

func TestSQLServerPingReturnsWhenItsContextEnds(t *testing.T) {
	t.Parallel()
	d, emulated, _ := newSQLServer(t, &tds.Server{})
	emulated.SetBehavior(cloudsqltest.Silent)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	wantError(t, openSQLServer(t, d, "server=localhost;cloudsql="+instanceName).PingContext(ctx), context.DeadlineExceeded)
}
