package e2e

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/driver/postgres"
)

const replicaName = "my-project:europe-west1:my-replica"

// newReplica returns a primary instance and a second one of the same cloud, with
// a server that is in recovery, as replicas are.
func (e *engine) newReplica(t *testing.T) (primary *instance, replica *cloudsqltest.EmulatedInstance) {
	t.Helper()
	primary = e.newInstance(t)
	server := e.ownServer(t)
	wantNil(t, server.Exec(t.Context(), `DO $$ BEGIN EXECUTE format('COPY (SELECT) TO %L', current_setting('data_directory') || '/standby.signal'); END $$`))
	wantNil(t, server.Restart(t.Context()))
	replica = primary.kit.AddInstance(replicaName, cloudsqltest.Instance{DatabaseVersion: e.version, Backend: server.TCPAddr(), IAMBackend: server.SocketAddr()})
	return primary, replica
}

const inRecovery = "select pg_is_in_recovery()"

// ways are how a program opens a pool of connections by a data source name.
var ways = map[string]func(t *testing.T, i *instance, dsn string) *sql.DB{
	"NewConnector": func(t *testing.T, i *instance, dsn string) *sql.DB {
		c, err := i.connector(i.dialer, dsn)
		wantNil(t, err)
		return sql.OpenDB(c)
	},
	"RegisterDriver": func(t *testing.T, i *instance, dsn string) *sql.DB {
		name, _ := registered(t, i)
		db, err := sql.Open(name, dsn)
		wantNil(t, err)
		return db
	},
}

func TestTargetSessionAttrsChooseTheInstance(t *testing.T) {
	eachPostgres(t, func(t *testing.T, e *engine) {
		i, _ := e.newReplica(t)
		for _, tt := range []struct {
			hosts, attrs string
			recovery     bool
		}{
			{instanceName + "," + replicaName, "any", false},
			{instanceName + "," + replicaName, "read-write", false},
			{instanceName + "," + replicaName, "read-only", true},
			{instanceName + "," + replicaName, "primary", false},
			{instanceName + "," + replicaName, "standby", true},
			{instanceName + "," + replicaName, "prefer-standby", true},
			{replicaName + "," + instanceName, "any", true},
			{replicaName + "," + instanceName, "read-write", false},
			{instanceName, "prefer-standby", false},
		} {
			for sslmode, who := range map[string]login{"prefer": app, "verify-full": iam} {
				dsn := i.dsn(tt.hosts, who, sharedDatabase) + " sslmode=" + sslmode + " target_session_attrs=" + tt.attrs
				if who == iam {
					dsn += " cloudsql_iam_authn=true"
				}
				for way, open := range ways {
					db := open(t, i, dsn)
					if got := value[bool](t, db, inRecovery); got != tt.recovery {
						t.Errorf("%s: %s: in recovery: %v, want %v", way, dsn, got, tt.recovery)
					}
					wantNil(t, db.Close())
				}
				pool, err := postgres.NewPool(t.Context(), i.dialer, dsn)
				wantNil(t, err)
				var got bool
				wantNil(t, pool.QueryRow(t.Context(), inRecovery).Scan(&got))
				if got != tt.recovery {
					t.Errorf("NewPool: %s: in recovery: %v, want %v", dsn, got, tt.recovery)
				}
				pool.Close()
			}
		}
	})
}

func TestTheNextInstanceIsTakenWhenTheFirstIsDown(t *testing.T) {
	eachPostgres(t, func(t *testing.T, e *engine) {
		i, replica := e.newReplica(t)
		i.emulated.Stop()
		db := ways["NewConnector"](t, i, i.dsn(instanceName+","+replicaName, app, sharedDatabase))
		defer db.Close()
		if !value[bool](t, db, inRecovery) {
			t.Error("it is not the replica that answers")
		}
		if i.emulated.Counts().Refused == 0 || replica.Counts().Handshakes != 1 {
			t.Errorf("the primary has refused %d connections, the replica has had %d", i.emulated.Counts().Refused, replica.Counts().Handshakes)
		}
	})
}

func TestHostsInRandomOrder(t *testing.T) {
	eachPostgres(t, func(t *testing.T, e *engine) {
		i, _ := e.newReplica(t)
		dsn := i.dsn(instanceName+","+replicaName, app, sharedDatabase) + " load_balance_hosts=random"
		for way, open := range ways {
			db := open(t, i, dsn)
			db.SetMaxIdleConns(-1)
			seen := map[bool]int{}
			for len(seen) < 2 { // as long as that takes: with a probability of 2^-100 longer than 100 connections
				seen[value[bool](t, db, inRecovery)]++
				if seen[true]+seen[false] > 100 {
					t.Fatalf("%s: in recovery or not: %v", way, seen)
				}
			}
			wantNil(t, db.Close())
		}
		pool, err := postgres.NewPool(t.Context(), i.dialer, dsn)
		wantNil(t, err)
		defer pool.Close()
		seen := map[bool]int{}
		for len(seen) < 2 {
			pool.Reset() // the next query has a new connection
			var standby bool
			wantNil(t, pool.QueryRow(t.Context(), inRecovery).Scan(&standby))
			seen[standby]++
			if seen[true]+seen[false] > 100 {
				t.Fatalf("NewPool: in recovery or not: %v", seen)
			}
		}
	})
}

// Of several instances a request to cancel goes to the one that the query runs on.
func TestAQueryOfTheSecondInstanceIsCancelled(t *testing.T) {
	eachPostgres(t, func(t *testing.T, e *engine) {
		i, replica := e.newReplica(t)
		dsn := i.dsn(instanceName+","+replicaName, app, sharedDatabase) + " target_session_attrs=standby"
		pool, err := postgres.NewPool(t.Context(), i.dialer, dsn)
		wantNil(t, err)
		defer pool.Close()
		watch := ways["NewConnector"](t, i, dsn)
		defer watch.Close()
		wantNil(t, watch.PingContext(t.Context()))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ended := inBackground(func() error {
			_, err := pool.Exec(ctx, "select pg_sleep(60) /* standby */")
			return err
		})
		e.waitSleeping(t, watch, ended)
		before, primary := replica.Accepted(), i.emulated.Accepted()
		cancel()
		wantError(t, <-ended, context.Canceled)
		e.waitAwake(t, watch)
		if replica.Accepted() == before || i.emulated.Accepted() != primary {
			t.Errorf("the requests to cancel: %d to the replica, %d to the primary", replica.Accepted()-before, i.emulated.Accepted()-primary)
		}
	})
}

// pgx dials for a request to cancel, and of a read pool any node was dialled: the
// query went on.
func TestAQueryOfAReadPoolIsCancelledAtItsNode(t *testing.T) {
	eachPostgres(t, func(t *testing.T, e *engine) {
		i := e.newInstanceOf(t, e.sharedServer(t), cloudsqltest.Instance{Nodes: make([]cloudsqltest.Node, 3)}).withDatabase(t)
		watch := i.open(t, app)
		wantNil(t, watch.PingContext(t.Context()))
		for _, opts := range [][]cloudsqlconn.DialOption{nil, {cloudsqlconn.WithPublicIP()}} {
			for range 3 {
				pool := i.openPool(t, app, opts...)
				before := connections(i.emulated)
				wantNil(t, pool.Ping(t.Context()))
				on := grown(before, connections(i.emulated))
				ctx, cancel := context.WithCancel(t.Context())
				ended := inBackground(func() error {
					_, err := pool.Exec(ctx, i.sleep)
					return err
				})
				i.waitSleeping(t, watch, ended)
				before = connections(i.emulated)
				cancel()
				wantError(t, <-ended, context.Canceled)
				i.waitAwake(t, watch)
				pool.Close() // waits for what cancels
				if got := grown(before, connections(i.emulated)); got != on {
					t.Errorf("the query ran on node %d, and node %d was dialled", on, got)
				}
			}
		}
	})
}

// connections are how many connections each node has had.
func connections(p *cloudsqltest.EmulatedInstance) (counts []int) {
	for _, n := range p.Nodes() {
		counts = append(counts, n.Counts().Handshakes)
	}
	return counts
}

// grown returns the only index at which a number has grown; -1: there are none,
// or several.
func grown(before, after []int) int {
	at := -1
	for i := range after {
		switch {
		case after[i] == before[i]:
		case at >= 0:
			return -1
		default:
			at = i
		}
	}
	return at
}

// instrumented is a driver that wraps another, as those of tracing libraries do.
type instrumented struct {
	driver.Driver
	opened *int
}

func (d instrumented) OpenConnector(dsn string) (driver.Connector, error) {
	*d.opened++
	return d.Driver.(driver.DriverContext).OpenConnector(dsn)
}

func TestAnInstrumentedDriverStaysInTheTunnel(t *testing.T) {
	eachEngine(t, func(t *testing.T, e *engine) {
		i := e.newInstance(t)
		name, _ := registered(t, i)
		probe, err := sql.Open(name, "")
		wantNil(t, err)
		wantNil(t, probe.Close())
		opened := 0
		c, err := instrumented{probe.Driver(), &opened}.OpenConnector(i.dsn(instanceName, app, i.database))
		wantNil(t, err)
		db := sql.OpenDB(c)
		defer db.Close()
		wantUser(t, i, db, app.user)
		if n := i.emulated.Accepted(); n != 1 || opened != 1 {
			t.Errorf("%d connections to the instance, want 1", n)
		}
	})
}

func TestPoolsOfPgxTellWhatARefusedLoginNeeds(t *testing.T) {
	eachPostgres(t, func(t *testing.T, e *engine) {
		i := e.newInstance(t)
		for _, tt := range []struct {
			login
			iam  bool
			hint string
		}{
			{login{user: "stranger"}, true, "IAM login is on"},
			{login{"app", "wr0ng"}, false, "`gcloud sql users set-password app "},
			{login{user: "app"}, false, "No password was given"},
		} {
			before := i.emulated.Accepted()
			err := i.openPool(t, tt.login, cloudsqlconn.WithIAMAuthN(tt.iam)).Ping(t.Context())
			if postgresError(err) == "" {
				t.Errorf("got %v, want the error of the server", err)
			}
			wantHint(t, err, tt.hint)
			if n := i.emulated.Accepted() - before; n != 1 {
				t.Errorf("%d connections, want 1: there is nothing to cancel", n)
			}
		}
	})
}

// A client of Serve dials the door for a request to cancel, and that led to any
// node.
func TestAQueryThroughServeIsCancelledAtItsNode(t *testing.T) {
	eachPostgres(t, func(t *testing.T, e *engine) {
		i := e.newInstanceOf(t, e.sharedServer(t), cloudsqltest.Instance{Nodes: make([]cloudsqltest.Node, 3)}).withDatabase(t)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		wantNil(t, err)
		i.serve(t, l, instanceName)
		host, port, _ := net.SplitHostPort(l.Addr().String())
		open := func() *pgx.Conn {
			c, err := pgx.Connect(t.Context(), fmt.Sprintf("host=%s port=%s sslmode=disable user=app password=secret dbname=%s", host, port, i.database))
			wantNil(t, err)
			t.Cleanup(func() { _ = c.Close(context.Background()) })
			return c
		}
		before := connections(i.emulated)
		one := open()
		on := grown(before, connections(i.emulated))
		watch := i.open(t, app)
		ended := inBackground(func() error {
			_, err := one.Exec(t.Context(), i.sleep)
			return err
		})
		i.waitSleeping(t, watch, ended)
		for range 2 { // whichever node's turn it is
			before = connections(i.emulated)
			wantNil(t, one.PgConn().CancelRequest(t.Context()))
			if after := connections(i.emulated); after[on] != before[on]+1 {
				t.Errorf("the query runs on node %d; the nodes had %v connections, and have %v", on, before, after)
			}
		}
		if refused, ok := errors.AsType[*pgconn.PgError](<-ended); !ok || refused.Code != "57014" { // query_canceled
			t.Errorf("the query ended with %v", refused)
		}
	})
}
