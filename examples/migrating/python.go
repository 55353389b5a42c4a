// Package migrating has what MIGRATING.md says of this module, to be compiled
// and tested.
package migrating

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/driver/mysql"
	"github.com/cloudsqlconn/cloudsqlconn/driver/postgres"
	"github.com/cloudsqlconn/cloudsqlconn/driver/sqlserver"
)

// fromPython has the lines of the section on Python.
func fromPython(ctx context.Context, source oauth2.TokenSource, logger *slog.Logger) (_ http.Handler, err error) {
	dialer, err := cloudsqlconn.NewDialer(ctx)
	if err != nil {
		return nil, err
	}
	defer dialer.Close()

	// Drivers and pools.
	connector, err1 := postgres.NewConnector(dialer, "host=p:r:i user=me password=secret dbname=shop")
	_, err2 := mysql.NewConnector(dialer, "me:secret@cloudsql(p:r:i)/shop")
	_, err3 := sqlserver.NewConnector(dialer, "sqlserver://me:secret@?database=shop&cloudsql=p:r:i")
	db := sql.OpenDB(connector)
	pool, err4 := postgres.NewPool(ctx, dialer, "host=p:r:i user=me password=secret dbname=shop")
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return nil, err
	}
	defer pool.Close()
	_, err = db.ExecContext(ctx, "INSERT INTO my_table (id, title) VALUES ($1, $2)", "book1", "Book One")
	rows, err1 := db.QueryContext(ctx, "SELECT * FROM my_table")
	if err := errors.Join(err, err1); err != nil {
		return nil, err
	}
	defer rows.Close()
	conn, err := dialer.Dial(ctx, "p:r:i")
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	private, err := dialer.Dial(ctx, "p:r:i", cloudsqlconn.WithPrivateIP())
	if err != nil {
		return nil, err
	}
	defer private.Close()

	// A Dialer with options.
	dialer, err = cloudsqlconn.NewDialer(ctx,
		cloudsqlconn.WithTokenSource(source),
		cloudsqlconn.WithPrivateIP(),
		cloudsqlconn.WithPSC(),
		cloudsqlconn.WithPublicIP(),
		cloudsqlconn.WithSQLData(cloudsqlconn.SQLDataPrefer),
		cloudsqlconn.WithIAMAuthN(true),
		cloudsqlconn.WithDialTimeout(30*time.Second),
		cloudsqlconn.WithLazyRefresh(),
		cloudsqlconn.WithQuotaProject("billing"),
		cloudsqlconn.WithAdminAPIEndpoint("http://127.0.0.1:13307"),
		cloudsqlconn.WithUserAgent("shop/1.2"),
		cloudsqlconn.WithUniverseDomain("example.com"),
		cloudsqlconn.WithDNSResolver(net.DefaultResolver),
		cloudsqlconn.WithFailoverPeriod(time.Minute),
		cloudsqlconn.WithLogger(logger),
	)
	if err != nil {
		return nil, err
	}
	name, err := sqlserver.ServerName("p:r:i", cloudsqlconn.PrivateIP, "ad.example.com")
	if err != nil {
		return nil, err
	}
	dsn := "sqlserver://me:secret@" + name + "?cloudsql=p:r:i&authenticator=krb5"
	connector, err = sqlserver.NewConnector(dialer, dsn)
	if err != nil {
		return nil, err
	}
	db = sql.OpenDB(connector)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := db.PingContext(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	}), nil
}
