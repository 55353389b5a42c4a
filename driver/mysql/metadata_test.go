package mysql_test

import (
	"context"
	"database/sql"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	gomysql "github.com/go-sql-driver/mysql"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/mysqlserver"
)

// Once the server knows that the client is encrypted, it wants the password of
// a full login as it is.
func TestLoginsAfterAMetadataExchange(t *testing.T) {
	t.Parallel()
	const full, fast, rsa = mysqlserver.FullClear, mysqlserver.Fast, mysqlserver.FullRSA
	for _, c := range []struct {
		name string
		mode cloudsqltest.MetadataExchange
		opts []cloudsqlconn.DialOption
		user string
		want []mysqlserver.Path
	}{
		{"", cloudsqltest.AcceptMetadata, nil, "app:secret", []mysqlserver.Path{full, fast, fast}},
		{"", cloudsqltest.AcceptMetadataBytewise, nil, "app:secret", []mysqlserver.Path{full, fast}},
		{"", cloudsqltest.AcceptMetadataSilently, nil, "app:secret", []mysqlserver.Path{full, fast}},
		{"", cloudsqltest.GreetFirst, nil, "app:secret", []mysqlserver.Path{full, fast}},
		{"", cloudsqltest.RefuseMetadata, nil, "app:secret", []mysqlserver.Path{full, fast}}, // the request comes too late for that
		{"", cloudsqltest.OversizedMetadataResponse, nil, "app:secret", []mysqlserver.Path{full, fast}},
		{"", cloudsqltest.NoMetadataExchange, nil, "app:secret", []mysqlserver.Path{rsa, fast}},
		{"native", cloudsqltest.AcceptMetadata, nil, "native:secret", []mysqlserver.Path{mysqlserver.Scrambled}},
		{"clear", cloudsqltest.AcceptMetadata, nil, "clear:secret", []mysqlserver.Path{mysqlserver.Clear}},
		{"off", cloudsqltest.AcceptMetadata, []cloudsqlconn.DialOption{cloudsqlconn.WithMetadataExchange(false)}, "app:secret", []mysqlserver.Path{rsa, fast}},
	} {
		t.Run(c.mode.String()+"/"+c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, cloudsqltest.Instance{MetadataExchange: c.mode})
				defer w.close()
				db := w.open(c.user+"@cloudsql-mysql("+instance+")/shop", c.opts...)
				defer db.Close()
				db.SetMaxIdleConns(-1)
				for range c.want {
					wantNil(t, db.PingContext(t.Context()))
				}
				w.wantPaths(c.want...)
				told := len(w.instance.MetadataExchanges())
				if want := len(c.want); c.opts == nil && c.mode != cloudsqltest.NoMetadataExchange && told != want || c.opts != nil && told != 0 {
					t.Errorf("%d metadata exchanges", told)
				}
			})
		})
	}
}

// What the Dialer has been told counts for the driver's connections, too.
func TestADialerWithoutAMetadataExchangeTellsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, cloudsqltest.Instance{MetadataExchange: cloudsqltest.AcceptMetadata}, cloudsqlconn.WithMetadataExchange(false))
		defer w.close()
		db := w.open("app:secret@cloudsql-mysql(" + instance + ")/shop")
		defer db.Close()
		wantNil(t, db.PingContext(t.Context()))
		w.wantPaths(mysqlserver.FullRSA)
		if told := w.instance.MetadataExchanges(); len(told) != 0 {
			t.Errorf("the instance was told %+v", told)
		}
	})
}

// go-sql-driver does not know what a bare Dial is believed to be: such a
// connection tells nothing unless it is asked to.
func TestABareDialForTheDriverTellsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, cloudsqltest.Instance{MetadataExchange: cloudsqltest.AcceptMetadata})
		defer w.close()
		cfg := gomysql.NewConfig()
		cfg.User, cfg.Passwd, cfg.Net, cfg.Addr = "app", "secret", "cloudsql", instance
		cfg.DialFunc = func(ctx context.Context, _, addr string) (net.Conn, error) { return w.dialer.Dial(ctx, addr) }
		connector, err := gomysql.NewConnector(cfg)
		wantNil(t, err)
		db := sql.OpenDB(connector)
		defer db.Close()
		wantNil(t, db.PingContext(t.Context()))
		w.wantPaths(mysqlserver.FullRSA)
		if told := w.instance.MetadataExchanges(); len(told) != 0 {
			t.Errorf("the instance was told %+v", told)
		}
	})
}

// A server that talks first has no use for an answer; it can refuse only a
// client that it has waited for.
func TestAWrongPasswordIsToldAfterAMetadataExchange(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, cloudsqltest.Instance{MetadataExchange: cloudsqltest.AcceptMetadata})
		defer w.close()
		db := w.open("app:wrong@cloudsql-mysql(" + instance + ")/shop")
		defer db.Close()
		if err := db.PingContext(t.Context()); err == nil || !strings.Contains(err.Error(), "Access denied") || errors.Is(err, cloudsqlconn.ErrConfig) {
			t.Errorf("got %v", err)
		}
	})
}
