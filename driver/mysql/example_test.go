package mysql_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/driver/mysql"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/mysqlserver"
)

// exampleCloud has an instance that knows one book.
func exampleCloud() *cloudsqltest.Server {
	server := &mysqlserver.Server{
		Accounts: map[string]mysqlserver.Account{"app": {Password: "secret"}},
		Answers:  map[string]string{"SELECT title FROM books WHERE id = 1": "Book One"},
	}
	cloud := cloudsqltest.NewServer()
	cloud.AddInstance("my-project:europe-west1:my-db", cloudsqltest.Instance{DatabaseVersion: "MYSQL_8_4", Handler: server.Serve})
	return cloud
}

// The cloud and the MySQL are emulated here; with real ones, NewDialer has no
// options.
func ExampleNewConnector() {
	cloud := exampleCloud()
	defer cloud.Close()
	ctx := context.Background()

	dialer, err := cloudsqlconn.NewDialer(ctx, cloud.Options()...)
	if err != nil {
		log.Fatal(err)
	}
	defer dialer.Close()
	connector, err := mysql.NewConnector(dialer, "app:secret@cloudsql-mysql(my-project:europe-west1:my-db)/shop?interpolateParams=true")
	if err != nil {
		log.Fatal(err)
	}
	db := sql.OpenDB(connector)
	defer db.Close()

	var title string
	if err := db.QueryRowContext(ctx, "SELECT title FROM books WHERE id = ?", 1).Scan(&title); err != nil {
		log.Fatal(err)
	}
	fmt.Println(title)
	// Output: Book One
}

// Libraries that open the driver mysql connect through the Dialer, too: the
// registered name is the network of their data source names.
func ExampleRegisterDriver() {
	cloud := exampleCloud()
	defer cloud.Close()

	cleanup, err := mysql.RegisterDriver("cloudsql-mysql", cloud.Options()...)
	if err != nil {
		log.Fatal(err)
	}
	defer cleanup()
	for _, driver := range []string{"cloudsql-mysql", "mysql"} {
		db, err := sql.Open(driver, "app:secret@cloudsql-mysql(my-project:europe-west1:my-db)/shop?interpolateParams=true")
		if err != nil {
			log.Fatal(err)
		}
		defer db.Close()

		var title string
		if err := db.QueryRow("SELECT title FROM books WHERE id = ?", 1).Scan(&title); err != nil {
			log.Fatal(err)
		}
		fmt.Println(title)
	}
	// Output:
	// Book One
	// Book One
}
