package interop

import (
	"context"
	"database/sql"
	"fmt"
	"sync/atomic"
	"testing"

	"cloud.google.com/go/cloudsqlconn"
	"cloud.google.com/go/cloudsqlconn/mysql/mysql"
	"cloud.google.com/go/cloudsqlconn/postgres/pgxv5"
	"cloud.google.com/go/cloudsqlconn/sqlserver/mssql"
)

func startGoPgx(t *testing.T, w *world) session {
	dsn := fmt.Sprintf("host=%s user=%s password='%s' dbname=%s sslmode=disable", instanceName, w.user(), w.password(), database)
	return startGo(t, w, pgxv5.RegisterDriver, func(string) string { return dsn }, "select current_user")
}

func startGoMySQL(t *testing.T, w *world) session {
	dsn := func(driver string) string {
		return fmt.Sprintf("%s:%s@%s(%s)/%s", w.user(), w.password(), driver, instanceName, database)
	}
	return startGo(t, w, mysql.RegisterDriver, dsn, "select substring_index(user(), '@', 1)")
}

func startGoMSSQL(t *testing.T, w *world) session {
	dsn := fmt.Sprintf("sqlserver://%s:%s@localhost?database=%s&cloudsql=%s", w.user(), w.password(), database, instanceName)
	return startGo(t, w, mssql.RegisterDriver, func(string) string { return dsn }, "select original_login()")
}

// drivers counts the registered drivers, to give each a name.
var drivers atomic.Int64

func startGo(t *testing.T, w *world, register func(string, ...cloudsqlconn.Option) (func() error, error), dsn func(driver string) string, query string) session {
	t.Helper()
	opts := []cloudsqlconn.Option{
		cloudsqlconn.WithAdminAPIEndpoint(w.kit.URL()),
		cloudsqlconn.WithCredentialsFile(w.credentials),
		cloudsqlconn.WithBuiltInMetrics(false), // they go to Google
	}
	if w.iam {
		opts = append(opts, cloudsqlconn.WithIAMAuthN())
	}
	if w.private {
		opts = append(opts, cloudsqlconn.WithDefaultDialOptions(cloudsqlconn.WithPrivateIP()))
	}
	if w.lazy {
		opts = append(opts, cloudsqlconn.WithLazyRefresh())
	}
	name := fmt.Sprintf("interop-%d", drivers.Add(1))
	cleanup, err := register(name, opts...)
	wantNil(t, err)
	t.Cleanup(func() { wantNil(t, cleanup()) })
	return func(ctx context.Context) (user string, err error) {
		db, err := sql.Open(name, dsn(name))
		if err != nil {
			return "", err
		}
		defer db.Close()
		err = db.QueryRowContext(ctx, query).Scan(&user)
		return user, err
	}
}
