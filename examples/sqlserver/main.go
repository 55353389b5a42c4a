// Sqlserver adds a book to a table in Cloud SQL for SQL Server and reads it
// back, with database/sql.
//
//	go run ./examples/sqlserver -dsn 'sqlserver://app:secret@localhost?database=shop&cloudsql=my-project:europe-west1:my-db' 'Book One'
//
// The host is there only because the form requires it: nothing connects to it.
package main

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/driver/sqlserver"
)

func main() {
	dsn := flag.String("dsn", os.Getenv("DATABASE_DSN"), "data `source` name; its parameter cloudsql is the instance")
	flag.Parse()
	if *dsn == "" {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *dsn, flag.Args(), os.Stdout); err != nil {
		report(os.Stderr, err)
		os.Exit(1)
	}
}

// report prints what went wrong and, if the Dialer knows, what to do about it.
func report(out io.Writer, err error) {
	fmt.Fprintln(out, err)
	if hint := cloudsqlconn.Hint(err); hint != "" {
		fmt.Fprintln(out, hint)
	}
}

const (
	createTable = `IF OBJECT_ID('books') IS NULL CREATE TABLE books (id int IDENTITY PRIMARY KEY, title nvarchar(200) NOT NULL)`
	insertBook  = `INSERT INTO books (title) OUTPUT INSERTED.id VALUES (@title)`
	selectBook  = `SELECT title FROM books WHERE id = @id`
)

// run adds books with these titles, and reads back each.
func run(ctx context.Context, dsn string, titles []string, out io.Writer, opts ...cloudsqlconn.Option) error {
	dialer, err := cloudsqlconn.NewDialer(ctx, opts...)
	if err != nil {
		return err
	}
	defer dialer.Close()
	connector, err := sqlserver.NewConnector(dialer, dsn)
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	defer db.Close()

	if _, err := db.ExecContext(ctx, createTable); err != nil {
		return err
	}
	for _, title := range titles {
		var id int64
		if err := db.QueryRowContext(ctx, insertBook, sql.Named("title", title)).Scan(&id); err != nil {
			return err
		}
		if err := db.QueryRowContext(ctx, selectBook, sql.Named("id", id)).Scan(&title); err != nil {
			return err
		}
		fmt.Fprintf(out, "%d %s\n", id, title)
	}
	return nil
}
