package interop

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/authtest"
	"github.com/cloudsqlconn/cloudsqlconn/interop/internal/clients"
)

const instanceName = "my-project:europe-west1:my-db"

// client is one of Google's clients together with the program that speaks the
// database's protocol.
type client struct {
	name   string
	engine *engine
	open   clients.Open
	can    ability
}

// ability is what not every client does.
type ability int

const (
	lazy         ability = 1 << iota // can be told to refresh when somebody connects, not before
	heedServerCA                     // asks for the new server CA when it does not trust the server
	heedClientCA                     // asks for another certificate when the server refuses its own
	checkName                        // looks whether the server certificate is for the instance
	showOld                          // shows its certificate even if the server wants one of another CA

	heedCAs = heedServerCA | heedClientCA
)

// session connects and returns the database's name for who has logged in. Each
// call is a new connection.
type session func(context.Context) (user string, err error)

var allClients = []client{
	{"go-pgx", postgresEngine, clients.GoPgx, lazy | heedCAs | checkName},
	{"go-mysql", mysqlEngine, clients.GoMySQL, lazy | heedCAs | checkName},
	{"go-mssql", sqlServerEngine, clients.GoMSSQL, lazy | heedCAs | checkName},
	{"proxy-psql", postgresEngine, clients.Psql, lazy | heedCAs | checkName},
	{"proxy-mariadb", mysqlEngine, clients.MariaDB, lazy | heedCAs | checkName},
	{"node-pg", postgresEngine, clients.Node("pg"), heedCAs | checkName | showOld},
	{"node-mysql2", mysqlEngine, clients.Node("mysql2"), heedCAs | checkName | showOld},
	{"python-pg8000", postgresEngine, clients.Python("pg8000"), lazy | heedCAs | showOld},
	{"python-psycopg", postgresEngine, clients.Python("psycopg"), lazy | heedCAs | showOld},
	{"python-asyncpg", postgresEngine, clients.Python("asyncpg"), lazy | heedCAs | showOld},
	{"python-pymysql", mysqlEngine, clients.Python("pymysql"), lazy | heedCAs | showOld},
	{"python-pytds", sqlServerEngine, clients.Python("pytds"), lazy | heedCAs | showOld},
	{"java-jdbc-postgres", postgresEngine, clients.Java("jdbc-postgres"), lazy | heedServerCA | checkName},
	{"java-jdbc-mysql", mysqlEngine, clients.Java("jdbc-mysql"), lazy | heedServerCA | checkName},
	{"java-jdbc-sqlserver", sqlServerEngine, clients.Java("jdbc-sqlserver"), lazy | heedServerCA | checkName},
	{"java-r2dbc-postgres", postgresEngine, clients.Java("r2dbc-postgres"), lazy | checkName},
}

// world is an emulated instance at addresses of its own, with a database
// behind it, and how a client is to reach it.
type world struct {
	engine   *engine
	kit      *cloudsqltest.Server
	emulated *cloudsqltest.EmulatedInstance

	// Names of files. Not every client takes a workload identity whose tokens come
	// from loopback.
	credentials string // a workload identity
	account     string // the key of a service account
	iam         bool
	private     bool
	lazy        bool

	sqlData   *cloudsqltest.SQLData // nil: clients are to use an address
	sqlDataCA string                // the file that has its CA
}

// newWorld returns an instance that is otherwise as cfg says.
func newWorld(t *testing.T, e *engine, cfg cloudsqltest.Instance) *world {
	t.Helper()
	e.behind(t, &cfg)
	kit := cloudsqltest.NewServer()
	t.Cleanup(kit.Close)
	cfg.ListenOn3307 = true // the clients have no dial function in common
	tokens := authtest.NewServer(kit.Token(), kit.LoginToken())
	t.Cleanup(tokens.Close)
	tokens.Tokens[authtest.AdminScope+" "+authtest.CloudScope] = kit.Token() // what Java asks for
	dir := t.TempDir()
	w := &world{engine: e, kit: kit, credentials: filepath.Join(dir, "credentials.json"), account: filepath.Join(dir, "account.json")}
	wantNil(t, os.WriteFile(w.credentials, tokens.ExternalAccount(""), 0o600))
	wantNil(t, os.WriteFile(w.account, tokens.ServiceAccount(), 0o600))
	w.emulated = kit.AddInstance(instanceName, cfg)
	return w
}

// target is what a client is told of it.
func (w *world) target() clients.Target {
	return clients.Target{
		Endpoint:    w.kit.URL(),
		Instance:    instanceName,
		Credentials: w.credentials,
		Account:     w.account,
		IAM:         w.iam,
		Private:     w.private,
		Lazy:        w.lazy,
		User:        w.user(),
		Password:    w.password(),
		Database:    database,
		SQLData:     w.sqlDataAddr(),
		SQLDataCA:   w.sqlDataCA,
	}
}

// start starts a client, which ends with the test.
func (w *world) start(t *testing.T, open clients.Open) session {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := open(ctx, w.target())
	wantInstalled(t, err)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing the client: %v", err)
		}
		if log := s.Log(); t.Failed() && log != "" {
			t.Logf("the client wrote: %s", log)
		}
	})
	return s.Connect
}

// user is who a client is to log in as.
func (w *world) user() string {
	if w.iam {
		return w.engine.iamUser
	}
	return appUser
}

// password is empty with IAM.
func (w *world) password() string {
	if w.iam {
		return ""
	}
	return appPassword
}

// calls counts the requests of one kind.
func (w *world) calls(call string) (n int) {
	for _, r := range w.kit.Requests() {
		if r.Call == call {
			n++
		}
	}
	return n
}

// onlyAddress leaves the instance one of its addresses.
func (w *world) onlyAddress(kind cloudsqlconn.IPType) {
	w.emulated.SetAddrs(map[cloudsqlconn.IPType]string{kind: w.emulated.Addrs()[kind]})
}

const (
	patience = 90 * time.Second // for a client to recover: it waits 30 s for its rate limit
	pause    = 100 * time.Millisecond
)

// wantLogin checks that a new connection is there for the right user.
func wantLogin(t *testing.T, w *world, s session) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	user, err := s(ctx)
	wantNil(t, err)
	if user != w.user() {
		t.Fatalf("logged in as %q, want %q", user, w.user())
	}
}

// wantNoRefresh checks that a client that cannot connect does not ask the Admin
// API for anything else either, for as long as most need to recover.
func wantNoRefresh(t *testing.T, w *world, s session) {
	t.Helper()
	before := len(w.kit.Requests())
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		user, err := s(ctx)
		cancel()
		if err == nil || len(w.kit.Requests()) != before {
			t.Fatalf("user %q, error %v, after %d requests: the client has learned to recover", user, err, len(w.kit.Requests())-before)
		}
	}
}

// wantRecovery tries new connections until one is there for the right user. It
// logs how many failed, and returns that number.
func wantRecovery(t *testing.T, w *world, s session) (failed int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	began := time.Now()
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		user, err := s(ctx)
		if err == nil {
			if user != w.user() {
				t.Fatalf("logged in as %q, want %q", user, w.user())
			}
			t.Logf("recovered after %d failed connections, in %v", failed, time.Since(began).Round(time.Millisecond))
			return failed
		}
		if failed++; failed == 1 {
			t.Logf("the first failure: %v", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%d connections failed, the last with: %v", failed, err)
		}
	}
}
