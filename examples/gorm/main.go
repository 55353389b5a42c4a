// Gorm adds a book to a table in Cloud SQL and lists what is there, with GORM.
// The data source name says which engine:
//
//	go run ./examples/gorm -dsn 'postgres://app:secret@/shop?host=my-project:europe-west1:my-db' 'Book One'
//	go run ./examples/gorm -dsn 'app:secret@cloudsql-mysql(my-project:europe-west1:my-db)/shop?parseTime=true' 'Book One'
//	go run ./examples/gorm -dsn 'sqlserver://app:secret@localhost?database=shop&cloudsql=my-project:europe-west1:my-db' 'Book One'
package main

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	gormmysql "gorm.io/driver/mysql"
	gormpostgres "gorm.io/driver/postgres"
	gormsqlserver "gorm.io/driver/sqlserver"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/driver/mysql"
	"github.com/cloudsqlconn/cloudsqlconn/driver/postgres"
	"github.com/cloudsqlconn/cloudsqlconn/driver/sqlserver"
)

func main() {
	dsn := flag.String("dsn", os.Getenv("DATABASE_DSN"), "data `source` name, which names the instance")
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
	ID    int64
	Title string `gorm:"not null"`
	Added time.Time
}

// run adds books with these titles, and lists all.
func run(ctx context.Context, dsn string, titles []string, out io.Writer, opts ...cloudsqlconn.Option) error {
	dialer, err := cloudsqlconn.NewDialer(ctx, opts...)
	if err != nil {
		return err
	}
	defer dialer.Close()
	pool, dialector, err := open(dialer, dsn)
	if err != nil {
		return err
	}
	defer pool.Close()
	db, err := gorm.Open(dialector, &gorm.Config{
		DisableAutomaticPing: true, // it has no context
		Logger:               logger.Discard,
	})
	if err != nil {
		return err
	}

	db = db.WithContext(ctx)
	if err := db.AutoMigrate(&Book{}); err != nil {
		return err
	}
	for _, title := range titles {
		if err := db.Create(&Book{Title: title, Added: time.Now()}).Error; err != nil {
			return err
		}
	}
	var books []Book
	if err := db.Order("id").Find(&books).Error; err != nil {
		return err
	}
	for _, b := range books {
		fmt.Fprintf(out, "%d %s\n", b.ID, b.Title)
	}
	return nil
}

// open gives GORM a pool of connections that the Dialer makes.
func open(d *cloudsqlconn.Dialer, dsn string) (*sql.DB, gorm.Dialector, error) {
	switch {
	case strings.HasPrefix(dsn, "postgres://"):
		connector, err := postgres.NewConnector(d, dsn)
		if err != nil {
			return nil, nil, err
		}
		pool := sql.OpenDB(connector)
		return pool, gormpostgres.New(gormpostgres.Config{Conn: pool}), nil
	case strings.HasPrefix(dsn, "sqlserver://"):
		connector, err := sqlserver.NewConnector(d, dsn)
		if err != nil {
			return nil, nil, err
		}
		pool := sql.OpenDB(connector)
		return pool, gormsqlserver.New(gormsqlserver.Config{Conn: pool}), nil
	default:
		connector, err := mysql.NewConnector(d, dsn)
		if err != nil {
			return nil, nil, err
		}
		pool := sql.OpenDB(connector)
		return pool, gormmysql.New(gormmysql.Config{Conn: pool}), nil
	}
}
