//go:build linux

package starved

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/tds"
	"github.com/cloudsqlconn/cloudsqlconn/internal/dbserver"
)

// servers are all that the client talks to.
type servers struct {
	kit       *cloudsqltest.Server
	network   *network
	databases []*dbserver.Server
	targets   []*target
	callers   []caller
	pools     []database
}

// target is an instance that faults can hit.
type target struct {
	*cloudsqltest.EmulatedInstance
	id       string // the last part of its name
	gate     *gate
	database *dbserver.Server // behind it; nil if there is none
	calm     time.Duration    // when it may be hit again; guarded by striker.mu
}

// lengths are of the contexts of callers of one instance. Each has callers of
// its own kind: those who have more time must not help the others out.
var lengths = []caller{
	{Least: 300 * time.Millisecond, Most: 900 * time.Millisecond},
	{Least: 900 * time.Millisecond, Most: 1900 * time.Millisecond},
	{Least: 1900 * time.Millisecond, Most: 3 * time.Second},
}

const perLength = 3 // instances

func startServers(ctx context.Context) (_ *servers, err error) {
	s := &servers{kit: cloudsqltest.NewServer()}
	if s.network, err = newNetwork(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	for i := range perLength * len(lengths) {
		mode := cloudsqltest.LegacyCA
		if i%2 == 1 {
			mode = cloudsqltest.GoogleCAS
		}
		c := lengths[i%len(lengths)]
		c.Instance = s.add(fmt.Sprintf("echo-%d", i), nil, cloudsqltest.Instance{CAMode: mode, Handler: echo})
		s.callers = append(s.callers, c)
	}

	pg, err := s.start(ctx, dbserver.StartPostgres, "CREATE ROLE app LOGIN PASSWORD 'secret'", "CREATE DATABASE shop OWNER app")
	if err != nil {
		return nil, err
	}
	name := s.add("postgres", pg, cloudsqltest.Instance{Handler: forward(pg.TCPAddr())})
	dsn := "host=" + name + " user=app password=secret dbname=shop"
	s.pools = append(s.pools, database{"postgres", dsn, "select pg_sleep(60)"}, database{"pgxpool", dsn, "select pg_sleep(60)"})

	my, err := s.start(ctx, dbserver.StartMariaDB, "CREATE DATABASE shop", "CREATE USER app@'127.0.0.1' IDENTIFIED BY 'secret'", "GRANT ALL ON shop.* TO app@'127.0.0.1'")
	if err != nil {
		return nil, err
	}
	name = s.add("mysql", my, cloudsqltest.Instance{DatabaseVersion: "MYSQL_8_0", Handler: forward(my.TCPAddr())})
	s.pools = append(s.pools, database{"mysql", "app:secret@cloudsql-mysql(" + name + ")/shop", "select sleep(60)"})

	const waitFor = "waitfor delay '00:01'"
	ms := &tds.Server{Users: map[string]string{"app": "secret"}}
	ms.Handle = func(ctx context.Context, q tds.Query) (tds.Result, error) {
		if q.Text == waitFor {
			<-ctx.Done()
		}
		return tds.Result{}, ctx.Err()
	}
	ms.Answer("select 1", tds.Result{Columns: []tds.Column{{Type: tds.Int}}, Rows: [][]any{{1}}})
	name = s.add("sqlserver", nil, cloudsqltest.Instance{DatabaseVersion: "SQLSERVER_2022_STANDARD", Handler: ms.Serve})
	s.pools = append(s.pools, database{"sqlserver", "sqlserver://app:secret@localhost?database=shop&cloudsql=" + name, waitFor})
	return s, nil
}

func (s *servers) start(ctx context.Context, start func(context.Context, dbserver.Options) (*dbserver.Server, error), statements ...string) (*dbserver.Server, error) {
	db, err := start(ctx, dbserver.Options{})
	if err != nil {
		return nil, err
	}
	s.databases = append(s.databases, db)
	return db, db.Exec(ctx, statements...)
}

// add adds an instance, with a gate before cfg.Handler, and returns its name.
func (s *servers) add(id string, db *dbserver.Server, cfg cloudsqltest.Instance) string {
	g := &gate{}
	cfg.Handler = g.before(cfg.Handler)
	p := s.kit.AddInstance("my-project:europe-west1:"+id, cfg)
	s.network.add(p)
	s.targets = append(s.targets, &target{EmulatedInstance: p, id: id, gate: g, database: db})
	return p.Name()
}

func (s *servers) orders() *orders {
	return &orders{
		API: s.kit.URL(), Token: s.kit.Token(), Login: s.kit.LoginToken(),
		Network: s.network.listener.Addr().String(), Callers: s.callers, Databases: s.pools,
	}
}

func (s *servers) close() error {
	s.kit.Close()
	s.network.close()
	var errs []error
	for _, db := range s.databases {
		errs = append(errs, db.Close())
	}
	return errors.Join(errs...)
}
