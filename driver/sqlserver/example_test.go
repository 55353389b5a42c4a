package sqlserver_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"net/url"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/tds"
	"github.com/cloudsqlconn/cloudsqlconn/driver/sqlserver"
)

// The cloud and the SQL Server are emulated here; with real ones, NewDialer has
// no options.
func ExampleNewConnector() {
	server := &tds.Server{Users: map[string]string{"app": "secret"}}
	server.Answer("select name from books where id = @p1", tds.Result{
		Columns: []tds.Column{{Name: "name", Type: tds.NVarChar}},
		Rows:    [][]any{{"Book One"}},
	})
	cloud := cloudsqltest.NewServer()
	defer cloud.Close()
	cloud.AddInstance("my-project:europe-west1:my-db", cloudsqltest.Instance{
		DatabaseVersion: "SQLSERVER_2022_STANDARD",
		Handler:         server.Serve,
	})

	ctx := context.Background()
	dialer, err := cloudsqlconn.NewDialer(ctx, cloud.Options()...)
	if err != nil {
		log.Fatal(err)
	}
	defer dialer.Close()
	connector, err := sqlserver.NewConnector(dialer, "sqlserver://app:secret@localhost?database=shop&cloudsql=my-project:europe-west1:my-db")
	if err != nil {
		log.Fatal(err)
	}
	db := sql.OpenDB(connector)
	defer db.Close()

	var name string
	if err := db.QueryRowContext(ctx, "select name from books where id = @p1", 1).Scan(&name); err != nil {
		log.Fatal(err)
	}
	fmt.Println(name)
	// Output: Book One
}

// A login with the Kerberos ticket of the process's user.
func ExampleServerName() {
	host, err := sqlserver.ServerName("my-project:europe-west1:my-db", cloudsqlconn.PrivateIP, "ad.example.com")
	if err != nil {
		log.Fatal(err)
	}
	dsn := url.URL{Scheme: "sqlserver", Host: host, RawQuery: url.Values{
		"cloudsql":          {"my-project:europe-west1:my-db"},
		"cloudsql_ip_types": {"PRIVATE"},
		"authenticator":     {"krb5"},
	}.Encode()}
	fmt.Println(dsn.Host)
	// Output: private.my-db.europe-west1.my-project.cloudsql.ad.example.com
}
