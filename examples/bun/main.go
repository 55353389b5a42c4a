// Bun adds a book to a table in Cloud SQL for PostgreSQL and lists what is
// there, with Bun.
//
//	go run ./examples/bun -dsn 'host=my-project:europe-west1:my-db user=app password=secret dbname=shop' 'Book One'
//
// The same goes for every library that takes a *sql.DB, such as sqlx, ent, and
// what sqlc generates.
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

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/driver/postgres"
)

func main() {
	dsn := flag.String("dsn", os.Getenv("DATABASE_DSN"), "data `source` name; its host is the instance")
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

// Book is a row of the table books.
type Book struct {
	bun.BaseModel `bun:"table:books"`

	ID    int64     `bun:",pk,autoincrement"`
	Title string    `bun:",notnull"`
	Added time.Time `bun:",nullzero,notnull,default:current_timestamp"`
}

// run adds books with these titles, and lists all.
func run(ctx context.Context, dsn string, titles []string, out io.Writer, opts ...cloudsqlconn.Option) error {
	dialer, err := cloudsqlconn.NewDialer(ctx, opts...)
	if err != nil {
		return err
	}
	defer dialer.Close()
	connector, err := postgres.NewConnector(dialer, dsn)
	if err != nil {
		return err
	}
	db := bun.NewDB(sql.OpenDB(connector), pgdialect.New())
	defer db.Close()

	if _, err := db.NewCreateTable().Model((*Book)(nil)).IfNotExists().Exec(ctx); err != nil {
		return err
	}
	err = db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		for _, title := range titles {
			if _, err := tx.NewInsert().Model(&Book{Title: title}).Exec(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	var books []Book
	if err := db.NewSelect().Model(&books).Order("id").Scan(ctx); err != nil {
		return err
	}
	for _, b := range books {
		fmt.Fprintf(out, "%d %s\n", b.ID, b.Title)
	}
	return nil
}
