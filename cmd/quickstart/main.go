// Quickstart inserts a book into a Cloud SQL database and reads it back.
//
// Without arguments it needs nothing: it emulates an instance, with a private
// PostgreSQL behind it where that is installed, and otherwise a stand-in that
// understands this program's statements and no others.
//
//	go run ./cmd/quickstart
//
// With an instance it talks to Cloud SQL, as the user that Application Default
// Credentials name:
//
//	go run ./cmd/quickstart -instance my-project:europe-west1:my-db -user me@example.com -iam -db postgres
package main

import (
	"context"
	"crypto/tls"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/driver/postgres"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	switch err := run(ctx, os.Args[1:], os.Stdout); {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		if hint := cloudsqlconn.Hint(err); hint != "" {
			fmt.Fprintln(os.Stderr, hint)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	instance := flags.String("instance", "", "`project:region:instance` in Cloud SQL; empty: an emulated one")
	user := flags.String("user", "quickstart", "database user, or with -iam an IAM principal")
	password := flags.String("password", "", "password of the user")
	database := flags.String("db", "postgres", "database")
	iam := flags.Bool("iam", false, "log in with IAM instead of a password")
	engine := flags.String("engine", "auto", "database of the emulated instance: `auto`, postgres or stand-in")
	if err := flags.Parse(args); err != nil {
		return err
	}

	opts := []cloudsqlconn.Option{cloudsqlconn.WithIAMAuthN(*iam)}
	if *instance == "" {
		e, err := startEmulator(ctx, *engine, *user, *password, *database, *iam)
		if err != nil {
			return err
		}
		defer e.Close()
		fmt.Fprintf(out, "engine       %s\n", e.engine)
		*instance = e.instance
		opts = append(opts, e.Options()...)
	}

	// One Dialer for the whole program.
	dialer, err := cloudsqlconn.NewDialer(ctx, opts...)
	if err != nil {
		return err
	}
	defer dialer.Close()
	if err := describe(ctx, dialer, *instance, out); err != nil {
		return err
	}

	// From here on, this is database/sql as always.
	dsn := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(*user, *password),
		Path:     "/" + *database,
		RawQuery: url.Values{"host": {*instance}}.Encode(),
	}
	connector, err := postgres.NewConnector(dialer, dsn.String())
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	return books(ctx, db, out)
}

// describe makes a connection only to show what it is like.
func describe(ctx context.Context, dialer *cloudsqlconn.Dialer, instance string, out io.Writer) error {
	conn, err := dialer.Dial(ctx, instance)
	if err != nil {
		return err
	}
	defer conn.Close()
	status := dialer.Instances()[0]
	state := conn.(interface{ ConnectionState() tls.ConnectionState }).ConnectionState()
	fmt.Fprintf(out, "instance     %s, %s\n", status.Name, status.DatabaseVersion)
	for _, t := range slices.Sorted(maps.Keys(status.Addrs)) {
		fmt.Fprintf(out, "address      %s %s\n", strings.Join(status.Addrs[t], " "), t)
	}
	fmt.Fprintf(out, "certificate  valid until %s\n", status.CertificateExpiry.UTC().Format(time.RFC3339))
	fmt.Fprintf(out, "connection   %s, verified, to %s\n", tls.VersionName(state.Version), conn.RemoteAddr())
	return nil
}

// books is what a program does with its database.
func books(ctx context.Context, db *sql.DB, out io.Writer) error {
	if _, err := db.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS quickstart_books (id SERIAL PRIMARY KEY, title TEXT NOT NULL)`); err != nil {
		return err
	}
	if _, err := db.ExecContext(ctx, `INSERT INTO quickstart_books (title) VALUES ($1)`, "Book One"); err != nil {
		return err
	}
	rows, err := db.QueryContext(ctx, `SELECT id, title FROM quickstart_books ORDER BY id`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		var title string
		if err := rows.Scan(&id, &title); err != nil {
			return err
		}
		fmt.Fprintf(out, "row          %d %s\n", id, title)
	}
	return rows.Err()
}
