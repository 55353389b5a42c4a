// Pgxpool is an HTTP service over a table in Cloud SQL for PostgreSQL, with a
// pgx pool.
//
//	go run ./examples/pgxpool -dsn 'host=my-project:europe-west1:my-db user=app password=secret dbname=shop connect_timeout=4'
//	curl -d 'Book One' localhost:8080/books
//	curl localhost:8080/books
//	curl localhost:8080/healthz
//
// connect_timeout is shorter than the time that /healthz has: the log then says why the
// service is not healthy, and what to do about it. With a longer one pgxpool would say no
// more than that the time is over.
//
// At SIGTERM it finishes the requests in progress, closes the pool, and then
// the Dialer.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/driver/postgres"
)

func main() {
	dsn := flag.String("dsn", os.Getenv("DATABASE_DSN"), "data `source` name; its host is the instance")
	addr := flag.String("addr", "localhost:8080", "`address` to listen on")
	flag.Parse()
	if *dsn == "" {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	listener, err := net.Listen("tcp", *addr)
	if err == nil {
		err = run(ctx, listener, *dsn)
	}
	if err != nil {
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

// run serves until ctx ends.
func run(ctx context.Context, listener net.Listener, dsn string, opts ...cloudsqlconn.Option) error {
	defer listener.Close()
	dialer, err := cloudsqlconn.NewDialer(ctx, opts...)
	if err != nil {
		return err
	}
	defer dialer.Close() // after the pool, which closes the connections
	pool, err := postgres.NewPool(ctx, dialer, dsn)
	if err != nil {
		return err
	}
	defer pool.Close()
	if _, err := pool.Exec(ctx, `CREATE TABLE IF NOT EXISTS books (id serial PRIMARY KEY, title text NOT NULL, added timestamptz NOT NULL DEFAULT now())`); err != nil {
		return err
	}

	s := &service{pool}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /books", s.list)
	mux.HandleFunc("POST /books", s.add)
	mux.HandleFunc("GET /healthz", s.healthz)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	drained := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		patience, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		drained <- server.Shutdown(patience)
	})
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		stop()
		return err
	}
	return <-drained
}

type service struct{ pool *pgxpool.Pool }

type book struct {
	ID    int64  `json:"id"`
	Title string `json:"title"`
}

func (s *service) list(w http.ResponseWriter, r *http.Request) {
	rows, _ := s.pool.Query(r.Context(), `SELECT id, title FROM books ORDER BY id`) // CollectRows returns the error
	books, err := pgx.CollectRows(rows, pgx.RowToStructByPos[book])
	if err != nil {
		unavailable(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(books)
}

func (s *service) add(w http.ResponseWriter, r *http.Request) {
	title, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1000))
	if err != nil {
		http.Error(w, "the title is too long", http.StatusBadRequest)
		return
	}
	if _, err := s.pool.Exec(r.Context(), `INSERT INTO books (title) VALUES ($1)`, string(title)); err != nil {
		unavailable(w, err)
		return
	}
	w.WriteHeader(http.StatusCreated)
}

// healthz says whether the service can do its work. It waits for longer than
// connect_timeout, so that the log has the reason; let the probe wait for longer still.
func (s *service) healthz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	if err := s.pool.Ping(ctx); err != nil {
		unavailable(w, err)
		return
	}
	fmt.Fprintln(w, "ok")
}

// unavailable tells the client little, and logs everything.
func unavailable(w http.ResponseWriter, err error) {
	var e *cloudsqlconn.Error
	if errors.As(err, &e) {
		slog.Error("database", "error", err, "hint", e.Hint)
	} else {
		slog.Error("database", "error", err)
	}
	http.Error(w, "the database is unavailable", http.StatusServiceUnavailable)
}
