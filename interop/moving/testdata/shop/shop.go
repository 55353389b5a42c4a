// Package shop is a program for Google's connector, as its users write them: one
// Dialer of its own, and a driver for each engine. The test of package moving
// moves it to this library.
package shop

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"net"
	"time"

	"cloud.google.com/go/cloudsqlconn"
	"cloud.google.com/go/cloudsqlconn/mysql/mysql"
	"cloud.google.com/go/cloudsqlconn/postgres/pgxv5"
	"cloud.google.com/go/cloudsqlconn/sqlserver/mssql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Config says where the shop has its data.
type Config struct {
	Orders    string // instance of PostgreSQL
	Books     string // instance of MySQL
	Accounts  string // instance of SQL Server
	User      string
	Password  string
	Database  string
	PrivateIP bool
}

// Shop sells books.
type Shop struct {
	dialer   *cloudsqlconn.Dialer
	orders   *pgxpool.Pool
	books    *sql.DB
	accounts *sql.DB
	archive  *sql.DB
	cleanups []func() error
}

// options are those of all Dialers. more are the caller's.
func options(cfg Config, more []cloudsqlconn.Option) []cloudsqlconn.Option {
	dial := []cloudsqlconn.DialOption{cloudsqlconn.WithTCPKeepAlive(30 * time.Second)}
	if cfg.PrivateIP {
		dial = append(dial, cloudsqlconn.WithPrivateIP())
	}
	opts := []cloudsqlconn.Option{
		cloudsqlconn.WithUserAgent("shop/1.0"),
		cloudsqlconn.WithRefreshTimeout(30 * time.Second),
		cloudsqlconn.WithBuiltInMetrics(false),
		cloudsqlconn.WithLazyRefresh(),
		cloudsqlconn.WithDefaultDialOptions(dial...),
	}
	return append(opts, more...)
}

// Open connects to all databases.
func Open(ctx context.Context, cfg Config, more ...cloudsqlconn.Option) (_ *Shop, err error) {
	s := new(Shop)
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	opts := options(cfg, more)
	if s.dialer, err = cloudsqlconn.NewDialer(ctx, opts...); err != nil {
		return nil, fmt.Errorf("cloudsqlconn.NewDialer: %w", err)
	}
	if err := s.dialer.Warmup(ctx, cfg.Orders); err != nil {
		return nil, fmt.Errorf("warmup: %w", err)
	}
	version, err := s.dialer.EngineVersion(ctx, cfg.Orders)
	if err != nil {
		return nil, fmt.Errorf("engine version: %w", err)
	}
	log.Printf("orders are in %s", version)
	if s.orders, err = s.openPool(ctx, cfg); err != nil {
		return nil, fmt.Errorf("orders: %w", err)
	}

	drivers := []struct {
		db       **sql.DB
		name     string
		register func(string, ...cloudsqlconn.Option) (func() error, error)
		dsn      string
	}{
		{&s.archive, "cloudsql-postgres", pgxv5.RegisterDriver,
			fmt.Sprintf("host=%s user=%s password=%s dbname=%s sslmode=disable", cfg.Orders, cfg.User, cfg.Password, cfg.Database)},
		{&s.books, "cloudsql-mysql", mysql.RegisterDriver,
			fmt.Sprintf("%s:%s@cloudsql-mysql(%s)/%s?parseTime=true", cfg.User, cfg.Password, cfg.Books, cfg.Database)},
		{&s.accounts, "cloudsql-sqlserver", mssql.RegisterDriver,
			fmt.Sprintf("sqlserver://%s:%s@localhost?database=%s&cloudsql=%s", cfg.User, cfg.Password, cfg.Database, cfg.Accounts)},
	}
	for _, d := range drivers {
		cleanup, err := d.register(d.name, opts...)
		if err != nil {
			return nil, fmt.Errorf("registering %s: %w", d.name, err)
		}
		s.cleanups = append(s.cleanups, cleanup)
		if *d.db, err = sql.Open(d.name, d.dsn); err != nil {
			return nil, fmt.Errorf("opening %s: %w", d.name, err)
		}
	}
	return s, nil
}

// openPool opens a pool of pgx connections through the shop's own Dialer.
func (s *Shop) openPool(ctx context.Context, cfg Config) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(fmt.Sprintf("user=%s password=%s dbname=%s sslmode=disable", cfg.User, cfg.Password, cfg.Database))
	if err != nil {
		return nil, err
	}
	config.ConnConfig.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return s.dialer.Dial(ctx, cfg.Orders)
	}
	config.MaxConns = 4
	return pgxpool.NewWithConfig(ctx, config)
}

// Order orders a book for an account, if both exist.
func (s *Shop) Order(ctx context.Context, account int, title string) error {
	var known int
	if err := s.accounts.QueryRowContext(ctx, "SELECT 1 FROM accounts WHERE id = @p1", account).Scan(&known); err != nil {
		return fmt.Errorf("account %d: %w", account, err)
	}
	var book int64
	if err := s.books.QueryRowContext(ctx, "SELECT id FROM books WHERE title = ?", title).Scan(&book); err != nil {
		return fmt.Errorf("book %q: %w", title, err)
	}
	_, err := s.orders.Exec(ctx, "INSERT INTO orders (account, book) VALUES ($1, $2)", account, book)
	return err
}

// Stock adds a book, through the driver that everybody calls mysql.
func (s *Shop) Stock(ctx context.Context, cfg Config, title string) error {
	db, err := sql.Open("mysql", fmt.Sprintf("%s:%s@cloudsql-mysql(%s)/%s", cfg.User, cfg.Password, cfg.Books, cfg.Database))
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.ExecContext(ctx, "INSERT INTO books (title) VALUES (?)", title)
	return err
}

// Orders returns the books that an account has ordered, oldest first.
func (s *Shop) Orders(ctx context.Context, account int) ([]int64, error) {
	rows, err := s.orders.Query(ctx, "SELECT book FROM orders WHERE account = $1 ORDER BY id", account)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[int64])
}

// Count returns how many orders there are.
func (s *Shop) Count(ctx context.Context) (n int, err error) {
	err = s.archive.QueryRowContext(ctx, "SELECT count(*) FROM orders").Scan(&n)
	return n, err
}

// Close closes everything. An order after that is an ErrDialerClosed.
func (s *Shop) Close() error {
	var errs []error
	if s.orders != nil {
		s.orders.Close()
	}
	for _, db := range []*sql.DB{s.books, s.accounts, s.archive} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	for _, cleanup := range s.cleanups {
		errs = append(errs, cleanup())
	}
	if s.dialer != nil {
		errs = append(errs, s.dialer.Close())
	}
	return errors.Join(errs...)
}

// Ping reports whether an instance can be reached at all.
func (s *Shop) Ping(ctx context.Context, instance string) error {
	conn, err := s.dialer.Dial(ctx, instance, cloudsqlconn.WithPublicIP())
	if errors.Is(err, cloudsqlconn.ErrDialerClosed) {
		return errors.New("the shop is closed")
	}
	if err != nil {
		return err
	}
	return conn.Close()
}
