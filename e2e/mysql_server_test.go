//go:build unix

package e2e

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"

	mysqldriver "github.com/go-sql-driver/mysql"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// openWithParams returns a pool whose data source name has further parameters.
func (i *instance) openWithParams(t *testing.T, name string, who login, params string, opts ...cloudsqlconn.DialOption) *sql.DB {
	t.Helper()
	c, err := i.connector(i.dialer, i.dsn(name, who, i.database)+"?"+params, opts...)
	wantNil(t, err)
	db := sql.OpenDB(c)
	t.Cleanup(func() { _ = db.Close() }) // fails if a connection has been cut
	return db
}

func TestNobodyNoticesThatMySQLEndsIdleConnections(t *testing.T) {
	eachMySQL(t, func(t *testing.T, e *engine) {
		t.Run("wait_timeout", func(t *testing.T) {
			i := e.newInstance(t)
			db := i.openWithParams(t, instanceName, app, "wait_timeout=1")
			fill(t, db, idleConns)
			i.network.waitHeard(t)
			wantAnswer(t, db)
		})
		t.Run("KILL", func(t *testing.T) {
			i := e.newInstance(t)
			db := i.open(t, app)
			fill(t, db, idleConns)
			conns := openConns(t, db, idleConns)
			var ids []int64
			for _, c := range conns {
				ids = append(ids, value[int64](t, c, e.sessionID))
				wantNil(t, c.Close())
			}
			for _, id := range ids {
				wantNil(t, i.server.Exec(t.Context(), fmt.Sprint("KILL ", id)))
			}
			i.network.waitHeard(t)
			wantAnswer(t, db)
		})
	})
}

func TestAKilledConnectionEndsItsQueryAndNoOther(t *testing.T) {
	eachMySQL(t, func(t *testing.T, e *engine) {
		i := e.newInstance(t).withDatabase(t)
		db := i.open(t, app)
		ended := inBackground(func() error {
			_, err := db.ExecContext(t.Context(), e.sleep)
			return err
		})
		wantNil(t, i.server.Exec(t.Context(), fmt.Sprint("KILL ", e.waitSleeping(t, db, ended))))
		if err := <-ended; err == nil {
			t.Error("a query that was killed is no error")
		}
		wantAnswer(t, db)
	})
}

// No real server can be brought to this on loopback: it counts no errors of
// 127.0.0.1, and asks DNS for all other hosts.
func TestMySQLThatHasBlockedTheHostIsHeard(t *testing.T) {
	eachMySQL(t, func(t *testing.T, e *engine) {
		i := e.newInstance(t)
		const name = "my-project:europe-west1:blocked"
		const text = "Host '10.0.0.1' is blocked because of many connection errors; unblock with 'mysqladmin flush-hosts'"
		i.kit.AddInstance(name, cloudsqltest.Instance{DatabaseVersion: e.version, Handler: func(c net.Conn) {
			_, _ = io.WriteString(c, string([]byte{byte(3 + len(text)), 0, 0, 0, 0xff, 1129 & 0xff, 1129 >> 8})+text)
			_, _ = io.Copy(io.Discard, c)
		}})
		if err := i.openWithParams(t, name, app, "").PingContext(t.Context()); mysqlError(err) != 1129 {
			t.Errorf("got %v, want error 1129", err)
		}
		for _, l := range listeners(t) {
			i.serve(t, l, name)
			if got, err := e.client(t, l, "select 1"); err == nil || !strings.Contains(got, "1129") || !strings.Contains(got, "is blocked") {
				t.Errorf("%s: the client printed %q, %v", l.Addr().Network(), got, err)
			}
		}
	})
}

// What follows needs a server of its own: it is full, offline, or down.
func TestMySQLThatDoesNotServe(t *testing.T) {
	eachMySQL(t, func(t *testing.T, e *engine) {
		server := e.ownServer(t)
		set := func(t *testing.T, statement string) {
			t.Helper()
			wantNil(t, server.Exec(t.Context(), "SET GLOBAL "+statement))
		}
		// MySQL notices that it is full before the login, or after it, as one
		// connection more is kept for administrators. MariaDB is never as late.
		t.Run("full", func(t *testing.T) {
			i := e.newInstanceOf(t, server, cloudsqltest.Instance{})
			const most = 10 // MariaDB's least
			for _, c := range openConns(t, i.open(t, app), most) {
				wantAnswer(t, c)
			}
			set(t, "connect_timeout = 3600") // late has it for its login
			set(t, fmt.Sprint("max_connections = ", most))
			t.Cleanup(func() {
				for server.Exec(context.Background(), "SET GLOBAL max_connections = 100") != nil { // until the administrator's is free
				}
			})
			late := greeted(t, server.TCPAddr())
			if e != mysqlEngine {
				_ = late.Close()
				err := i.connectUntil(t, func(err error) bool { return mysqlError(err) == 1040 })
				if state := sqlState(err); state != "08004" {
					t.Errorf("after the login: %v, state %q", err, state)
				}
				late = greeted(t, server.TCPAddr())
			}
			defer late.Close()
			err := i.connectUntil(t, func(err error) bool { return mysqlError(err) == 1040 && sqlState(err) != "08004" })
			if state := sqlState(err); strings.Trim(state, "\x00") != "" {
				t.Errorf("before the login: %v, state %q", err, state)
			}
			report, err := i.dialer.Check(t.Context(), instanceName)
			wantNil(t, err)
			if last := report.Steps[len(report.Steps)-1]; !strings.Contains(last.Hint, "max_connections") {
				t.Errorf("Check says\n%v", report)
			}
		})
		t.Run("offline_mode", func(t *testing.T) {
			if e == mysqlEngine {
				return // it has none
			}
			i := e.newInstanceOf(t, server, cloudsqltest.Instance{})
			db := i.open(t, app)
			fill(t, db, idleConns)
			set(t, "offline_mode = ON")
			t.Cleanup(func() { wantNil(t, server.Exec(context.Background(), "SET GLOBAL offline_mode = OFF")) })
			i.network.waitHeard(t)
			if err := db.PingContext(t.Context()); mysqlError(err) != 3032 { // ER_SERVER_OFFLINE_MODE
				t.Errorf("got %v, want error 3032", err)
			}
			set(t, "offline_mode = OFF")
			wantAnswer(t, db)
		})
		t.Run("checked", func(t *testing.T) {
			i := e.newInstanceOf(t, server, cloudsqltest.Instance{})
			conn := openConns(t, i.open(t, app), 1)[0]
			before := status(t, conn, "Connections")
			report, err := i.dialer.Check(t.Context(), instanceName)
			wantNil(t, err)
			if !report.OK() {
				t.Error(report)
			}
			if n := status(t, conn, "Connections") - before; n != 1 {
				t.Errorf("a check has cost %d connections without a login", n)
			}
		})
		t.Run("down", func(t *testing.T) {
			i := e.newInstanceOf(t, server, cloudsqltest.Instance{})
			wantNil(t, server.Stop())
			t.Cleanup(func() { wantNil(t, server.Start(context.Background())) })
			err := i.open(t, app).PingContext(t.Context())
			if hint := cloudsqlconn.Hint(err); !strings.Contains(hint, "the database does not answer") {
				t.Errorf("got %v, hint %q", err, hint)
			}
			for _, l := range listeners(t) {
				i.serve(t, l, instanceName)
				if got, err := e.client(t, l, "select 1"); err == nil || !strings.Contains(got, "before the database answered") {
					t.Errorf("%s: the client printed %q, %v", l.Addr().Network(), got, err)
				}
			}
		})
	})
}

// greeted opens a connection that the server counts, since it has greeted it. It
// refuses some before, while it counts one that has ended.
func greeted(t *testing.T, address string) net.Conn {
	t.Helper()
	for {
		conn, err := net.Dial("tcp", address)
		wantNil(t, err)
		first := make([]byte, 5) // the header of the packet, and what kind it is
		_, err = io.ReadFull(conn, first)
		wantNil(t, err)
		if first[4] != 0xff { // an error
			return conn
		}
		_ = conn.Close()
	}
}

// connectUntil connects until that fails as it should, and returns the error: the
// server may count a connection for a while that has ended.
func (i *instance) connectUntil(t *testing.T, right func(error) bool) error {
	t.Helper()
	db := i.open(t, app)
	db.SetMaxIdleConns(-1)
	for {
		if err := db.PingContext(t.Context()); right(err) || t.Context().Err() != nil {
			return err
		}
	}
}

func sqlState(err error) string {
	if e, ok := errors.AsType[*mysqldriver.MySQLError](err); ok {
		return string(e.SQLState[:])
	}
	return ""
}

// status returns a number of SHOW GLOBAL STATUS.
func status(t *testing.T, q queryer, name string) (n int) {
	t.Helper()
	wantNil(t, q.QueryRowContext(t.Context(), "show global status like '"+name+"'").Scan(new(string), &n))
	return n
}

// The name is led to another server, and the one before has become read-only:
// writes fail there until the connections to it are cut, and no longer.
func TestWritesFollowANameAwayFromAReadOnlyServer(t *testing.T) {
	eachMySQL(t, func(t *testing.T, e *engine) {
		const domain, other = "db.example.com", "my-project:europe-west1:green"
		dns := cloudsqltest.NewDNS()
		dns.SetTXT(domain, instanceName)
		blue := e.newInstanceOf(t, e.ownServer(t), cloudsqltest.Instance{}, cloudsqlconn.WithDNSResolver(dns), cloudsqlconn.WithFailoverPeriod(1e8))
		green := e.newInstance(t).withDatabase(t)
		blue.database = green.database
		wantNil(t, blue.server.Exec(t.Context(), fmt.Sprintf(e.createDatabase, blue.database)))
		blue.kit.AddInstance(other, cloudsqltest.Instance{DatabaseVersion: e.version, Backend: green.server.TCPAddr()})
		for _, i := range []*instance{blue, green} {
			wantNil(t, i.server.Exec(t.Context(), "CREATE TABLE "+i.database+".t (n int)"))
		}
		db := blue.openWithParams(t, domain, app, "")
		exec(t, db, "insert into t values (1)")

		wantNil(t, blue.server.Exec(t.Context(), "SET GLOBAL read_only = ON"))
		if _, err := db.ExecContext(t.Context(), "insert into t values (2)"); mysqlError(err) != 1290 { // ER_OPTION_PREVENTS_STATEMENT
			t.Errorf("got %v, want error 1290", err)
		}
		dns.SetTXT(domain, other)
		for {
			_, err := db.ExecContext(t.Context(), "insert into t values (3)")
			if err == nil {
				break
			}
			if n := mysqlError(err); n != 1290 && n != 0 || t.Context().Err() != nil {
				t.Fatal(err)
			}
		}
		if got := values[int](t, green.open(t, app), "select n from t"); len(got) != 1 || got[0] != 3 {
			t.Errorf("the other server has %v", got)
		}
	})
}

// Compression begins after the login, whose packets the instance may renumber.
func TestCompressionAndLocalFiles(t *testing.T) {
	eachMySQL(t, func(t *testing.T, e *engine) {
		for _, exchange := range []cloudsqltest.MetadataExchange{cloudsqltest.NoMetadataExchange, cloudsqltest.AcceptMetadata} {
			i := e.newInstanceOf(t, e.sharedServer(t), cloudsqltest.Instance{MetadataExchange: exchange}).withDatabase(t)
			db := i.openWithParams(t, instanceName, app, "compress=true")
			var name, on string
			wantNil(t, db.QueryRowContext(t.Context(), "show session status like 'Compression'").Scan(&name, &on))
			if on != "ON" {
				t.Errorf("compression is %s", on)
			}
			exec(t, db, "create table t (id int primary key, name text)")
			const rows = 20_000
			var file bytes.Buffer
			for n := range rows {
				fmt.Fprintf(&file, "%d\t%s\n", n, strings.Repeat("x", n%100))
			}
			reader := fmt.Sprint("file-", i.database)
			mysqldriver.RegisterReaderHandler(reader, func() io.Reader { return &file })
			t.Cleanup(func() { mysqldriver.DeregisterReaderHandler(reader) })
			exec(t, db, "load data local infile 'Reader::"+reader+"' into table t")
			if got := value[int](t, db, "select count(*) from t where length(name) = id % 100"); got != rows {
				t.Errorf("%v: %d rows are right, want %d", exchange, got, rows)
			}
		}
	})
}

// A client of a unix socket sends its password as it is; the instance is told so.
func TestDumpsAndTheirReloadThroughServe(t *testing.T) {
	t.Parallel()
	e := mysql97Engine // MariaDB's is no part of the client that CI installs
	for _, l := range listeners(t) {
		i := e.newInstanceOf(t, e.sharedServer(t), cloudsqltest.Instance{MetadataExchange: cloudsqltest.AcceptMetadata}).withDatabase(t)
		copied := i.database + "_copy"
		user := "dump_" + i.database
		wantNil(t, i.server.Exec(t.Context(), fmt.Sprintf(e.createDatabase, copied),
			"CREATE USER "+user+"@'127.0.0.1' IDENTIFIED BY 'secret'", "GRANT ALL ON `e2e\\_%`.* TO "+user+"@'127.0.0.1'"))
		db := i.open(t, app)
		exec(t, db, "create table fruit (id int primary key auto_increment, name varchar(200) character set utf8mb4)")
		exec(t, db, "insert into fruit (name) values ('Äpfel'), ('it''s'), (null)")
		for range 10 {
			exec(t, db, "insert into fruit (name) select concat(coalesce(name, ''), 'x') from fruit")
		}
		i.serve(t, l, instanceName)
		network := l.Addr().Network()
		door := []string{"--socket=" + l.Addr().String()}
		if network == "tcp" {
			_, port, _ := net.SplitHostPort(l.Addr().String())
			door = []string{"--protocol=tcp", "--host=127.0.0.1", "--port=" + port}
		}
		as := append(door, "--user="+user, "--password=secret")
		file := filepath.Join(t.TempDir(), "dump.sql")
		out, err := run(t, e.mysqlClient("mysqldump", append(as, "--no-tablespaces", "--set-gtid-purged=OFF", "--result-file="+file, i.database)...))
		if err != nil {
			t.Fatalf("%s: %v: %s", network, err, out)
		}
		line := e.mysqlClient("mysql", append(as, copied)...)
		reload := osexec.CommandContext(t.Context(), line[0], line[1:]...)
		dump, err := os.Open(file)
		wantNil(t, err)
		defer dump.Close()
		reload.Stdin = dump
		if out, err := reload.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", network, err, out)
		}
		want := value[string](t, db, "select concat(count(*), ' ', sum(crc32(concat(id, coalesce(name, 'NULL'))))) from fruit")
		got := value[string](t, db, "select concat(count(*), ' ', sum(crc32(concat(id, coalesce(name, 'NULL'))))) from "+copied+".fruit")
		if got != want || !strings.HasPrefix(got, "3072 ") {
			t.Errorf("%s: the copy has %s, the original %s", network, got, want)
		}
		told := map[string]string{"tcp": "TCP", "unix": "UDS"}[network]
		for _, m := range i.emulated.MetadataExchanges()[1:] { // the first is db's
			if m.ClientProtocolType != told {
				t.Errorf("%s: the instance was told %v", network, m)
			}
		}
	}
}

// The kit, which looks for the user of an IAM login, cut off programs with many
// connection attributes.
func TestIAMLoginsMayHaveManyAttributes(t *testing.T) {
	eachMySQL(t, func(t *testing.T, e *engine) {
		i := e.newInstance(t)
		i.kit.Principals = map[string]string{i.kit.LoginToken(): iamEmail}
		params := "connectionAttributes=program:" + strings.Repeat("x", 60_000)
		wantUser(t, i, i.openWithParams(t, instanceName, iam, params, cloudsqlconn.WithIAMAuthN(true)), i.iamUser)
	})
}
