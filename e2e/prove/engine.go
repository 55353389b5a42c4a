package main

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/driver/mysql"
	"github.com/cloudsqlconn/cloudsqlconn/driver/postgres"
	"github.com/cloudsqlconn/cloudsqlconn/driver/sqlserver"
)

// engine is a kind of database.
type engine struct {
	name, title string
	connect     func(*cloudsqlconn.Dialer, string, account, []cloudsqlconn.DialOption) (driver.Connector, error)
	steps       []step
}

// step is something that is tried, and what it says.
type step struct {
	name string
	do   func(context.Context, *sql.DB) (string, error)
}

var engines = []engine{
	{"postgres", "PostgreSQL", connectPostgres, steps(`SELECT current_setting('server_version')`, `SELECT pg_sleep(60)`)},
	{"mysql", "MySQL", connectMySQL, steps(`SELECT version()`, `SELECT SLEEP(60)`)},
	{"sqlserver", "SQL Server", connectSQLServer, steps(`SELECT CAST(SERVERPROPERTY('ProductVersion') AS varchar(40))`, `WAITFOR DELAY '00:01:00'`)},
}

func connectPostgres(d *cloudsqlconn.Dialer, name string, a account, opts []cloudsqlconn.DialOption) (driver.Connector, error) {
	query := url.Values{"host": {name}}
	if a.user != "" {
		query.Set("user", a.user)
	}
	if a.password != "" {
		query.Set("password", a.password)
	}
	return postgres.NewConnector(d, "postgres:///"+url.PathEscape(cmp.Or(a.database, "postgres"))+"?"+strings.ReplaceAll(query.Encode(), "+", "%20"), opts...)
}

func connectMySQL(d *cloudsqlconn.Dialer, name string, a account, opts []cloudsqlconn.DialOption) (driver.Connector, error) {
	who := a.user
	if a.password != "" {
		who += ":" + a.password
	}
	return mysql.NewConnector(d, who+"@cloudsql-mysql("+name+")/"+url.PathEscape(cmp.Or(a.database, "information_schema")), opts...)
}

func connectSQLServer(d *cloudsqlconn.Dialer, name string, a account, opts []cloudsqlconn.DialOption) (driver.Connector, error) {
	dsn := url.URL{Scheme: "sqlserver", User: url.UserPassword(a.user, a.password), Host: "localhost",
		RawQuery: url.Values{"database": {cmp.Or(a.database, "master")}, "cloudsql": {name}}.Encode()}
	return sqlserver.NewConnector(d, dsn.String(), opts...)
}

// steps are what is tried of each engine, with its own SQL.
func steps(version, sleep string) []step {
	return []step{
		{"login and query", func(ctx context.Context, db *sql.DB) (text string, err error) {
			err = db.QueryRowContext(ctx, version).Scan(&text)
			return text, err
		}},
		{"five connections at once", func(ctx context.Context, db *sql.DB) (string, error) {
			return "", together(ctx, db, version)
		}},
		{"a query that is given up ends", func(ctx context.Context, db *sql.DB) (string, error) {
			conn, err := db.Conn(ctx)
			if err != nil {
				return "", err
			}
			defer conn.Close()
			short, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			start := time.Now()
			_, err = conn.ExecContext(short, sleep)
			if waited := time.Since(start); err == nil || short.Err() == nil || ctx.Err() != nil {
				return "", fmt.Errorf("it has ended after %s: %w", waited, cmp.Or(err, errors.New("without an error")))
			}
			return "and the next one is answered", db.PingContext(ctx)
		}},
	}
}

// together opens five connections, and queries each. Of equal errors it returns one.
func together(ctx context.Context, db *sql.DB, query string) error {
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex // guards errs
		errs []error
	)
	conns := make([]*sql.Conn, 5)
	for i := range conns {
		wg.Go(func() {
			conn, err := db.Conn(ctx)
			if err == nil {
				conns[i] = conn
				var text string
				err = conn.QueryRowContext(ctx, query).Scan(&text)
			}
			mu.Lock()
			defer mu.Unlock()
			same := func(other error) bool { return err != nil && other != nil && other.Error() == err.Error() }
			if !slices.ContainsFunc(errs, same) {
				errs = append(errs, err)
			}
		})
	}
	wg.Wait()
	for _, conn := range conns {
		if conn != nil {
			errs = append(errs, conn.Close())
		}
	}
	return errors.Join(errs...)
}
