package sqlserver_test

import (
	"crypto/rand"
	"database/sql"
	"database/sql/driver"
	"errors"
	"reflect"
	"testing"

	mssql "github.com/microsoft/go-mssqldb"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/tds"
	"github.com/cloudsqlconn/cloudsqlconn/driver/sqlserver"
)

func TestRawGivesTheConnectionForABulkCopy(t *testing.T) {
	t.Parallel()
	c := newCloud(t, &tds.Server{})
	c.db.Answer("SET FMTONLY ON", tds.Result{})
	c.db.Answer("select * from [books] SET FMTONLY OFF", tds.Result{Columns: []tds.Column{{Name: "id", Type: tds.BigInt}, {Name: "name"}}})
	c.db.Answer("INSERT BULK [books] ([id] bigint, [name] nvarchar(max))", tds.Result{})
	conn, err := open(t, c.dialer, plainDSN).Conn(t.Context())
	wantNil(t, err)
	defer conn.Close()
	wantNil(t, conn.Raw(func(raw any) error {
		own, ok := sqlserver.DriverConn(raw)
		if !ok {
			t.Fatalf("%T is no connection", raw)
		}
		if same, ok := sqlserver.DriverConn(own); !ok || same != own {
			t.Error("go-mssqldb's own connection is not taken")
		}
		bulk := own.CreateBulkContext(t.Context(), "books", []string{"id", "name"})
		for _, row := range [][]any{{1, "Book One"}, {2, nil}, {3, "Buch Drei"}} {
			if err := bulk.AddRow(row); err != nil {
				return err
			}
		}
		n, err := bulk.Done()
		if n != 3 {
			t.Errorf("%d rows were copied, want 3", n)
		}
		return err
	}))
	want := [][]any{{int64(1), "Book One"}, {int64(2), nil}, {int64(3), "Buch Drei"}}
	if got := c.db.Sessions()[0].BulkRows; !reflect.DeepEqual(got, want) {
		t.Errorf("the server has %v, want %v", got, want)
	}
	wantNil(t, conn.PingContext(t.Context())) // the connection is good for more
	if _, ok := sqlserver.DriverConn("something else"); ok {
		t.Error("a string is taken for a connection")
	}
}

// Instrumentation asks a pool for its driver, and opens by that.
func TestWhatAsksForTheDriverStaysInTheTunnel(t *testing.T) {
	t.Parallel()
	c := newCloud(t, &tds.Server{Users: map[string]string{"app": "secret"}})
	name := "cloudsql-" + rand.Text()
	cleanup, err := sqlserver.RegisterDriver(name, c.Options()...)
	wantNil(t, err)
	defer func() { wantNil(t, cleanup()) }()
	for _, first := range []string{"", plainDSN} {
		db, err := sql.Open(name, first) // as otelsql.Open does, with ""
		wantNil(t, err)
		before := c.emulated.Accepted()
		connector, err := db.Driver().(driver.DriverContext).OpenConnector(plainDSN)
		wantNil(t, err)
		wrapped := sql.OpenDB(connector)
		wantNil(t, wrapped.PingContext(t.Context()))
		wantNil(t, wrapped.Close())
		one, err := wrapped.Driver().Open(plainDSN)
		wantNil(t, err)
		wantNil(t, one.Close())
		if n := c.emulated.Accepted() - before; n != 2 {
			t.Errorf("%d connections to the instance, want 2", n)
		}
		if _, native := db.Driver().(*mssql.Driver); native {
			t.Error("the driver is go-mssqldb's own")
		}
		if first == "" {
			if err := db.PingContext(t.Context()); !errors.Is(err, cloudsqlconn.ErrBadName) {
				t.Errorf("without a data source name: got %v", err)
			}
		}
		wantNil(t, db.Close())
	}
}
