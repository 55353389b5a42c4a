package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/cloudsqlconn/cloudsqlconn/internal/dbserver"
)

const directName = "direct"

// direct goes to the database without a tunnel.
type direct struct{ addr string }

func (d direct) Name() string { return directName }

func (d direct) Dial(ctx context.Context) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", d.addr)
}

func (d direct) Close() {}

// databases measures database/sql and pgxpool on a real PostgreSQL behind the
// kit, and beside it without a tunnel.
func databases(ctx context.Context, r *run) (err error) {
	db, err := dbserver.StartPostgres(ctx, dbserver.Options{})
	if errors.Is(err, dbserver.ErrNotInstalled) || errors.Is(err, errors.ErrUnsupported) {
		r.section("PostgreSQL end to end", "Not measured: there is no PostgreSQL on this machine.")
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := db.Exec(ctx, "CREATE ROLE app LOGIN PASSWORD 'secret'"); err != nil {
		return err
	}
	t, err := r.kit.add(InstanceSpec{Names: []string{r.nextInstance()}, Backend: db.TCPAddr()})
	if err != nil {
		return err
	}
	subjects, err := all(t, r.key)
	if err != nil {
		return err
	}
	defer closeAll(subjects)
	subjects = append(subjects, direct{db.TCPAddr()})

	r.section("PostgreSQL end to end", fmt.Sprintf(`PostgreSQL %s behind the emulated instance, whose proxy is one more process in the way; "direct" connects to it without a
tunnel. A connection logs in with SCRAM; a query is `+"`SELECT 1`"+`, prepared. Times are for one operation.`, db.Version()))
	for _, w := range []struct {
		title string
		n     int
		run   func(ctx context.Context, s subject, n int) (func() error, func(), error)
	}{
		{"pgx: connections, one after the other", r.pick(20, 40), pgxConnects},
		{"database/sql: queries, one after the other", r.pick(500, 1000), sqlQueries},
		{"pgxpool: queries, 16 at once on 8 connections", r.pick(500, 2000), poolQueries},
	} {
		prepared, cleanup := map[string]func() error{}, []func(){}
		for _, s := range subjects {
			f, done, err := w.run(ctx, s, w.n)
			if err != nil {
				return err
			}
			prepared[s.Name()], cleanup = f, append(cleanup, done)
		}
		costs, err := interleave(r.pick(5, 21), subjects, func(s subject) (cost, error) { return measure(w.n, prepared[s.Name()]) })
		for _, done := range cleanup {
			done()
		}
		if err != nil {
			return err
		}
		r.databaseTable(w.title, costs)
	}
	return nil
}

func (r *run) databaseTable(title string, costs map[string][]cost) {
	tab := table{head: []string{title, "a second", "wall ÷ direct", "client CPU ÷ direct"}}
	for _, name := range append([]string{directName}, subjectNames...) {
		c := costs[name]
		rate := spreadOf(values(c, func(c cost) float64 { return float64(time.Second) / float64(c.wall) }))
		tab.rows = append(tab.rows, []string{name, with(rate, ""), times(ratio(c, costs[directName], wallOf)), times(ratio(c, costs[directName], cpuOf))})
	}
	r.text(sentence("Our wall time", costs, wallOf, peerName, bareName))
	r.table(tab)
}

// pgxConfig returns a configuration that connects through s.
func pgxConfig(s subject) (*pgx.ConnConfig, error) {
	cfg, err := pgx.ParseConfig("host=127.0.0.1 user=app password=secret dbname=postgres sslmode=disable")
	if err != nil {
		return nil, err
	}
	cfg.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) { return s.Dial(ctx) }
	return cfg, nil
}

func pgxConnects(ctx context.Context, s subject, n int) (func() error, func(), error) {
	cfg, err := pgxConfig(s)
	return func() error {
		for range n {
			c, err := pgx.ConnectConfig(ctx, cfg)
			if err != nil {
				return err
			}
			if err := c.Close(ctx); err != nil {
				return err
			}
		}
		return nil
	}, func() {}, err
}

func sqlQueries(ctx context.Context, s subject, n int) (func() error, func(), error) {
	cfg, err := pgxConfig(s)
	if err != nil {
		return nil, nil, err
	}
	db := stdlib.OpenDB(*cfg)
	db.SetMaxOpenConns(1)
	statement, err := db.PrepareContext(ctx, "SELECT 1")
	if err != nil {
		return nil, nil, errors.Join(err, db.Close())
	}
	return func() error {
		for range n {
			if err := scanOne(ctx, statement); err != nil {
				return err
			}
		}
		return nil
	}, func() { _ = db.Close() }, nil
}

func scanOne(ctx context.Context, statement *sql.Stmt) error {
	var one int
	return statement.QueryRowContext(ctx).Scan(&one)
}

func poolQueries(ctx context.Context, s subject, n int) (func() error, func(), error) {
	cfg, err := pgxpool.ParseConfig("host=127.0.0.1 user=app password=secret dbname=postgres sslmode=disable pool_max_conns=8")
	if err != nil {
		return nil, nil, err
	}
	cfg.ConnConfig.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) { return s.Dial(ctx) }
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, nil, err
	}
	return func() error {
		return atOnce(16, n, func(int) error {
			var one int
			return pool.QueryRow(ctx, "SELECT 1").Scan(&one)
		})
	}, pool.Close, nil
}
