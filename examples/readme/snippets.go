// Package readme holds the snippets of README.md and RECIPES.md, so that they
// are compiled.
package readme

import (
	"context"
	"database/sql"
	"log"
	"net"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/dbtest"
	"github.com/cloudsqlconn/cloudsqlconn/driver/mysql"
	"github.com/cloudsqlconn/cloudsqlconn/driver/postgres"
	"github.com/cloudsqlconn/cloudsqlconn/driver/sqlserver"
)

func postgresSQL(ctx context.Context) error {
	dialer, err := cloudsqlconn.NewDialer(ctx)
	if err != nil {
		return err
	}
	defer dialer.Close()
	connector, err := postgres.NewConnector(dialer, "host=my-project:europe-west1:my-db user=app password=secret dbname=shop")
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	return db.PingContext(ctx)
}

func postgresPool(ctx context.Context, dialer *cloudsqlconn.Dialer) error {
	pool, err := postgres.NewPool(ctx, dialer, "host=my-project:europe-west1:my-db user=me@example.com dbname=shop connect_timeout=5",
		cloudsqlconn.WithIAMAuthN(true))
	if err != nil {
		return err
	}
	defer pool.Close()
	return pool.Ping(ctx)
}

func mySQL(ctx context.Context, dialer *cloudsqlconn.Dialer) error {
	connector, err := mysql.NewConnector(dialer, "app:secret@cloudsql-mysql(my-project:europe-west1:my-db)/shop?parseTime=true")
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	return db.PingContext(ctx)
}

func sqlServer(ctx context.Context, dialer *cloudsqlconn.Dialer) error {
	connector, err := sqlserver.NewConnector(dialer, "sqlserver://app:secret@localhost?database=shop&cloudsql=my-project:europe-west1:my-db")
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	return db.PingContext(ctx)
}

func dnsName(ctx context.Context) error {
	dialer, err := cloudsqlconn.NewDialer(ctx, cloudsqlconn.WithDNSResolver(net.DefaultResolver))
	if err != nil {
		return err
	}
	defer dialer.Close()
	conn, err := dialer.Dial(ctx, "db.example.com")
	if err != nil {
		return err
	}
	return conn.Close()
}

func anythingElse(ctx context.Context, dialer *cloudsqlconn.Dialer) error {
	conn, err := dialer.Dial(ctx, "my-project:europe-west1:my-db", cloudsqlconn.WithPrivateIP())
	if err != nil {
		log.Println(err, cloudsqlconn.Hint(err)) // what went wrong, and what to do about it
		return err
	}
	return conn.Close()
}

func kit(ctx context.Context) (*cloudsqlconn.Dialer, error) {
	server := cloudsqltest.NewServer()
	defer server.Close()
	server.AddInstance("my-project:europe-west1:my-db", cloudsqltest.Instance{Backend: "127.0.0.1:5432"})

	dialer, err := cloudsqlconn.NewDialer(ctx, server.Options()...)
	return dialer, err
}

func kitWithDatabase(t *testing.T, server *cloudsqltest.Server) {
	db := dbtest.New(t, dbtest.PostgreSQL, "CREATE ROLE app LOGIN PASSWORD 'secret'", "CREATE DATABASE shop OWNER app")
	server.AddInstance("my-project:europe-west1:my-db", db.Instance())
}

func kitWithPrincipal(server *cloudsqltest.Server) {
	server.Principals = map[string]string{server.LoginToken(): "me@example.com"}
}
