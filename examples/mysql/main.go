// Mysql adds a book to a table in Cloud SQL for MySQL and lists what is there,
// with database/sql.
//
//	go run ./examples/mysql -dsn 'app:secret@cloudsql-mysql(my-project:europe-west1:my-db)/shop?parseTime=true' 'Book One'
//
// Without a password, with IAM login:
//
//	go run ./examples/mysql -dsn 'me@example.com@cloudsql-mysql(my-project:europe-west1:my-db)/shop?parseTime=true&cloudsql_iam_authn=true'
package main

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/driver/mysql"
)

func main() {
	dsn := flag.String("dsn", os.Getenv("DATABASE_DSN"), "data `source` name; its address is the instance")
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

// run adds books with these titles, and lists all.
func run(ctx context.Context, dsn string, titles []string, out io.Writer, opts ...cloudsqlconn.Option) error {
	dialer, err := cloudsqlconn.NewDialer(ctx, opts...)
	if err != nil {
		return err
	}
	defer dialer.Close()
	connector, err := mysql.NewConnector(dialer, dsn)
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	defer db.Close()

	if _, err := db.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS books (
		id BIGINT AUTO_INCREMENT PRIMARY KEY, title TEXT NOT NULL, added TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP)`); err != nil {
		return err
	}
	if err := add(ctx, db, titles); err != nil {
		return err
	}
	return list(ctx, db, out)
}

// add adds all books or none.
func add(ctx context.Context, db *sql.DB, titles []string) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	for _, title := range titles {
		if _, err := tx.ExecContext(ctx, `INSERT INTO books (title) VALUES (?)`, title); err != nil {
			return err
		}
	}
	return tx.Commit()
}

func list(ctx context.Context, db *sql.DB, out io.Writer) error {
	rows, err := db.QueryContext(ctx, `SELECT id, title, added FROM books ORDER BY id`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		var title string
		var added time.Time // needs parseTime=true
		if err := rows.Scan(&id, &title, &added); err != nil {
			return err
		}
		fmt.Fprintf(out, "%d %s, added in %d\n", id, title, added.Year())
	}
	return rows.Err()
}
