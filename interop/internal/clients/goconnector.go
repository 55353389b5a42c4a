package clients

import (
	"context"
	"database/sql"
	"fmt"
	"sync/atomic"

	"cloud.google.com/go/cloudsqlconn"
	"cloud.google.com/go/cloudsqlconn/mysql/mysql"
	"cloud.google.com/go/cloudsqlconn/postgres/pgxv5"
	"cloud.google.com/go/cloudsqlconn/sqlserver/mssql"
)

// GoPgx opens the Go connector, with pgx.
func GoPgx(_ context.Context, target Target) (*Session, error) {
	dsn := fmt.Sprintf("host=%s user=%s password='%s' dbname=%s sslmode=disable", target.Instance, target.User, target.Password, target.Database)
	return openGo(target, pgxv5.RegisterDriver, func(string) string { return dsn }, "select current_user")
}

// GoMySQL opens the Go connector, with go-sql-driver/mysql.
func GoMySQL(_ context.Context, target Target) (*Session, error) {
	dsn := func(driver string) string {
		return fmt.Sprintf("%s:%s@%s(%s)/%s", target.User, target.Password, driver, target.Instance, target.Database)
	}
	return openGo(target, mysql.RegisterDriver, dsn, "select substring_index(user(), '@', 1)")
}

// GoMSSQL opens the Go connector, with go-mssqldb.
func GoMSSQL(_ context.Context, target Target) (*Session, error) {
	dsn := fmt.Sprintf("sqlserver://%s:%s@localhost?database=%s&cloudsql=%s", target.User, target.Password, target.Database, target.Instance)
	return openGo(target, mssql.RegisterDriver, func(string) string { return dsn }, "select original_login()")
}

// goDrivers counts the registered drivers, to give each a name.
var goDrivers atomic.Int64

func openGo(target Target, register func(string, ...cloudsqlconn.Option) (func() error, error), dsn func(driver string) string, query string) (*Session, error) {
	opts := []cloudsqlconn.Option{
		cloudsqlconn.WithAdminAPIEndpoint(target.Endpoint),
		cloudsqlconn.WithCredentialsFile(target.Credentials),
		cloudsqlconn.WithBuiltInMetrics(false), // they go to Google
	}
	if target.IAM {
		opts = append(opts, cloudsqlconn.WithIAMAuthN())
	}
	if target.Private {
		opts = append(opts, cloudsqlconn.WithDefaultDialOptions(cloudsqlconn.WithPrivateIP()))
	}
	if target.Lazy {
		opts = append(opts, cloudsqlconn.WithLazyRefresh())
	}
	name := fmt.Sprintf("interop-%d", goDrivers.Add(1))
	cleanup, err := register(name, opts...)
	if err != nil {
		return nil, err
	}
	return &Session{
		connect: func(ctx context.Context) (user string, err error) {
			db, err := sql.Open(name, dsn(name))
			if err != nil {
				return "", err
			}
			defer db.Close()
			err = db.QueryRowContext(ctx, query).Scan(&user)
			return user, err
		},
		close: cleanup,
		log:   func() string { return "" },
	}, nil
}
