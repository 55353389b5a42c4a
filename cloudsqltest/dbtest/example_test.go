package dbtest_test

import (
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/dbtest"
	"github.com/cloudsqlconn/cloudsqlconn/driver/postgres"
)

var t *testing.T // of the test around

// A test of code that uses an instance, with a real PostgreSQL in it.
func ExampleNew() {
	db := dbtest.New(t, dbtest.PostgreSQL,
		"CREATE ROLE app LOGIN PASSWORD 'secret'",
		"CREATE DATABASE shop OWNER app",
		`\connect shop`,
		"CREATE TABLE books (title text)", "GRANT ALL ON books TO app")
	cloud := cloudsqltest.NewServer()
	t.Cleanup(cloud.Close)
	cloud.AddInstance("my-project:europe-west1:my-db", db.Instance())

	dialer, err := cloudsqlconn.NewDialer(t.Context(), cloud.Options()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dialer.Close() })
	pool, err := postgres.NewPool(t.Context(), dialer, "host=my-project:europe-west1:my-db user=app password=secret dbname=shop")
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if _, err := pool.Exec(t.Context(), "INSERT INTO books VALUES ('Book One')"); err != nil {
		t.Fatal(err)
	}
}
