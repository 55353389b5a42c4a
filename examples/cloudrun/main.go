// Cloudrun is an HTTP service for Cloud Run that counts its visits in Cloud SQL
// for PostgreSQL.
//
//	gcloud run deploy visits --source . --service-account app@my-project.iam.gserviceaccount.com \
//		--set-env-vars 'DATABASE_DSN=host=my-project:europe-west1:my-db dbname=shop cloudsql_iam_authn=true'
//
// The service account needs the roles Cloud SQL Client and Cloud SQL Instance
// User, and is the database user: the data source name needs neither user nor
// password. For an instance without a public address, add
// cloudsql_ip_types=PRIVATE to it and --vpc-egress and --network to the command.
package main

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/driver/postgres"
)

func main() {
	slog.SetDefault(slog.New(slog.NewJSONHandler(os.Stderr, nil))) // Cloud Logging takes it apart
	dsn := os.Getenv("DATABASE_DSN")
	if dsn == "" {
		slog.Error("the environment variable DATABASE_DSN is empty; want a data source name whose host is the instance")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	listener, err := net.Listen("tcp", ":"+cmp.Or(os.Getenv("PORT"), "8080"))
	if err == nil {
		err = run(ctx, listener, dsn)
	}
	if err != nil {
		slog.Error("cannot serve", attrs(err)...)
		os.Exit(1)
	}
}

// attrs are what went wrong and, if the Dialer knows, what to do about it.
func attrs(err error) []any {
	if hint := cloudsqlconn.Hint(err); hint != "" {
		return []any{"error", err.Error(), "hint", hint}
	}
	return []any{"error", err.Error()}
}

// run serves until ctx ends.
func run(ctx context.Context, listener net.Listener, dsn string, opts ...cloudsqlconn.Option) error {
	defer listener.Close()
	// Between requests a container gets no CPU, so that a timer fires late or
	// not at all. A Dial refreshes the certificate when it is due.
	opts = append(opts, cloudsqlconn.WithLazyRefresh())
	dialer, err := cloudsqlconn.NewDialer(ctx, opts...)
	if err != nil {
		return err
	}
	defer dialer.Close()
	connector, err := postgres.NewConnector(dialer, dsn)
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	db.SetMaxOpenConns(4) // times the number of containers: mind max_connections
	db.SetConnMaxLifetime(30 * time.Minute)
	if _, err := db.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS visits (id serial PRIMARY KEY)`); err != nil {
		return err
	}

	server := &http.Server{Handler: visits(db), ReadHeaderTimeout: 10 * time.Second}
	drained := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		patience, cancel := context.WithTimeout(context.Background(), 8*time.Second) // SIGKILL comes after ten
		defer cancel()
		drained <- server.Shutdown(patience)
	})
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		stop()
		return err
	}
	return <-drained
}

// visits counts visits.
func visits(db *sql.DB) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var id int64
		if err := db.QueryRowContext(r.Context(), `INSERT INTO visits DEFAULT VALUES RETURNING id`).Scan(&id); err != nil {
			slog.Error("cannot count", attrs(err)...)
			http.Error(w, "the database is unavailable", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintf(w, "visit %d\n", id)
	})
}
