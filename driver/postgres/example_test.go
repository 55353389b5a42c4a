package postgres_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"net"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/driver/postgres"
)

// exampleCloud has an instance that knows one book.
func exampleCloud() *cloudsqltest.Server {
	cloud := cloudsqltest.NewServer()
	cloud.AddInstance("my-project:europe-west1:my-db", cloudsqltest.Instance{Handler: oneBook})
	return cloud
}

// oneBook is a PostgreSQL that answers every simple query with a title.
func oneBook(c net.Conn) {
	backend := pgproto3.NewBackend(c, c)
	if _, err := backend.ReceiveStartupMessage(); err != nil {
		return
	}
	backend.Send(&pgproto3.AuthenticationOk{})
	backend.Send(&pgproto3.ParameterStatus{Name: "standard_conforming_strings", Value: "on"})
	backend.Send(&pgproto3.ParameterStatus{Name: "client_encoding", Value: "UTF8"})
	backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	for backend.Flush() == nil {
		if msg, err := backend.Receive(); err != nil {
			return
		} else if _, ok := msg.(*pgproto3.Query); !ok {
			return
		}
		backend.Send(&pgproto3.RowDescription{Fields: []pgproto3.FieldDescription{{Name: []byte("title"), DataTypeOID: 25, DataTypeSize: -1, TypeModifier: -1}}})
		backend.Send(&pgproto3.DataRow{Values: [][]byte{[]byte("Book One")}})
		backend.Send(&pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")})
		backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	}
}

// The cloud and the PostgreSQL are emulated here; with real ones, NewDialer has no
// options, and default_query_exec_mode is left out.
func ExampleNewConnector() {
	cloud := exampleCloud()
	defer cloud.Close()
	ctx := context.Background()

	dialer, err := cloudsqlconn.NewDialer(ctx, cloud.Options()...)
	if err != nil {
		log.Fatal(err)
	}
	defer dialer.Close()
	connector, err := postgres.NewConnector(dialer, "host=my-project:europe-west1:my-db user=app password=secret dbname=shop default_query_exec_mode=simple_protocol")
	if err != nil {
		log.Fatal(err)
	}
	db := sql.OpenDB(connector)
	defer db.Close()

	var title string
	if err := db.QueryRowContext(ctx, "SELECT title FROM books WHERE id = $1", 1).Scan(&title); err != nil {
		log.Fatal(err)
	}
	fmt.Println(title)
	// Output: Book One
}

// A pool of pgx.
func ExampleNewPool() {
	cloud := exampleCloud()
	defer cloud.Close()
	ctx := context.Background()

	dialer, err := cloudsqlconn.NewDialer(ctx, cloud.Options()...)
	if err != nil {
		log.Fatal(err)
	}
	defer dialer.Close()
	pool, err := postgres.NewPool(ctx, dialer, "host=my-project:europe-west1:my-db user=app password=secret dbname=shop default_query_exec_mode=simple_protocol")
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()

	var title string
	if err := pool.QueryRow(ctx, "SELECT title FROM books WHERE id = $1", 1).Scan(&title); err != nil {
		log.Fatal(err)
	}
	fmt.Println(title)
	// Output: Book One
}

// A pool with settings of its own: what is to happen to each new connection.
func ExampleConfigurePool() {
	cloud := exampleCloud()
	defer cloud.Close()
	ctx := context.Background()

	dialer, err := cloudsqlconn.NewDialer(ctx, cloud.Options()...)
	if err != nil {
		log.Fatal(err)
	}
	defer dialer.Close()
	cfg, err := pgxpool.ParseConfig("host=my-project:europe-west1:my-db user=app password=secret dbname=shop default_query_exec_mode=simple_protocol")
	if err != nil {
		log.Fatal(err)
	}
	if err := postgres.ConfigurePool(dialer, cfg); err != nil {
		log.Fatal(err)
	}
	cfg.AfterConnect = func(ctx context.Context, c *pgx.Conn) error {
		fmt.Println("a connection to", c.Config().Host)
		return nil
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()

	var title string
	if err := pool.QueryRow(ctx, "SELECT title FROM books WHERE id = $1", 1).Scan(&title); err != nil {
		log.Fatal(err)
	}
	fmt.Println(title)
	// Output:
	// a connection to my-project:europe-west1:my-db
	// Book One
}

// A connection of pgx without a pool.
func ExampleConfigure() {
	cloud := exampleCloud()
	defer cloud.Close()
	ctx := context.Background()

	dialer, err := cloudsqlconn.NewDialer(ctx, cloud.Options()...)
	if err != nil {
		log.Fatal(err)
	}
	defer dialer.Close()
	cfg, err := pgx.ParseConfig("host=my-project:europe-west1:my-db user=app password=secret dbname=shop default_query_exec_mode=simple_protocol")
	if err != nil {
		log.Fatal(err)
	}
	if err := postgres.Configure(dialer, cfg); err != nil {
		log.Fatal(err)
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close(ctx)

	var title string
	if err := conn.QueryRow(ctx, "SELECT title FROM books WHERE id = $1", 1).Scan(&title); err != nil {
		log.Fatal(err)
	}
	fmt.Println(title)
	// Output: Book One
}

// A name for sql.Open, and for libraries that call it.
func ExampleRegisterDriver() {
	cloud := exampleCloud()
	defer cloud.Close()

	cleanup, err := postgres.RegisterDriver("cloudsql-postgres", cloud.Options()...)
	if err != nil {
		log.Fatal(err)
	}
	defer cleanup()
	db, err := sql.Open("cloudsql-postgres", "host=my-project:europe-west1:my-db user=app password=secret dbname=shop default_query_exec_mode=simple_protocol")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	var title string
	if err := db.QueryRow("SELECT title FROM books WHERE id = $1", 1).Scan(&title); err != nil {
		log.Fatal(err)
	}
	fmt.Println(title)
	// Output: Book One
}
