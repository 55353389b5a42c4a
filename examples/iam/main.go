// Iam logs in to Cloud SQL for PostgreSQL with IAM, without a password, and
// prints as whom.
//
// As the service account that the program runs as, or whose key
// GOOGLE_APPLICATION_CREDENTIALS names:
//
//	go run ./examples/iam -dsn 'host=my-project:europe-west1:my-db dbname=shop'
//
// As another service account, for which the caller may create tokens:
//
//	go run ./examples/iam -dsn 'host=my-project:europe-west1:my-db dbname=shop' -impersonate app@my-project.iam.gserviceaccount.com
//
// As yourself, after `gcloud auth application-default login`, whose credentials
// do not say who you are:
//
//	go run ./examples/iam -dsn 'host=my-project:europe-west1:my-db dbname=shop user=me@example.com'
//
// The account needs the roles Cloud SQL Client and Cloud SQL Instance User, and
// the instance the flag cloudsql.iam_authentication=on and a user:
//
//	gcloud sql users create app@my-project.iam --instance my-db --type cloud_iam_service_account
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
	"github.com/cloudsqlconn/cloudsqlconn/driver/postgres"
)

func main() {
	dsn := flag.String("dsn", os.Getenv("DATABASE_DSN"), "data `source` name; its host is the instance")
	impersonate := flag.String("impersonate", "", "service `account` to act as")
	flag.Parse()
	if *dsn == "" {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *dsn, *impersonate, os.Stdout); err != nil {
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

func run(ctx context.Context, dsn, impersonate string, out io.Writer, opts ...cloudsqlconn.Option) error {
	opts = append(opts, cloudsqlconn.WithIAMAuthN(true))
	if impersonate != "" {
		opts = append(opts, cloudsqlconn.WithImpersonation(impersonate))
	}
	dialer, err := cloudsqlconn.NewDialer(ctx, opts...)
	if err != nil {
		return err
	}
	defer dialer.Close()
	account, err := dialer.IAMPrincipal(ctx)
	if err != nil {
		return err
	}
	if account == "" {
		account = "unknown"
	}
	fmt.Fprintf(out, "account of the credentials: %s\n", account)

	// A user in the data source name is put into the form that PostgreSQL
	// knows; without one, it is the account.
	connector, err := postgres.NewConnector(dialer, dsn)
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	var user string
	if err := db.QueryRowContext(ctx, `SELECT current_user`).Scan(&user); err != nil {
		return err
	}
	fmt.Fprintf(out, "database user: %s\n", user)
	return nil
}
