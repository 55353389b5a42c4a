package e2e

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/dbserver"
)

const instanceName = "my-project:europe-west1:my-db"

// sharedDatabase is a database for tests that create nothing in it.
const sharedDatabase = "e2e_shared"

// newServer starts a database server with the users and the shared database.
func (e *engine) newServer(ctx context.Context) (*dbserver.Server, error) {
	s, err := e.start(ctx, dbserver.Options{Args: e.args})
	if err != nil {
		return nil, err
	}
	if err := s.Exec(ctx, append(e.createUsers, fmt.Sprintf(e.createDatabase, sharedDatabase))...); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// sharedServer returns the server that all tests use, started by the first.
func (e *engine) sharedServer(t *testing.T) *dbserver.Server {
	t.Helper()
	e.once.Do(func() { e.shared, e.err = e.newServer(context.Background()) })
	wantInstalled(t, e.err)
	return e.shared
}

func (e *engine) closeShared() error {
	if e.shared == nil {
		return nil
	}
	return e.shared.Close()
}

// ownServer starts a server for one test, which may stop it.
func (e *engine) ownServer(t *testing.T) *dbserver.Server {
	t.Helper()
	s, err := e.newServer(t.Context())
	wantInstalled(t, err)
	t.Cleanup(func() { wantNil(t, s.Close()) })
	return s
}

// wantInstalled ends the test if err says that a server could not be started.
// One that is not installed is a reason to skip the test, but not in CI.
func wantInstalled(t *testing.T, err error) {
	t.Helper()
	missing := errors.Is(err, dbserver.ErrNotInstalled) || errors.Is(err, errors.ErrUnsupported)
	if missing && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	wantNil(t, err)
}

// instance is an emulated instance in front of a real server, and a Dialer that
// reaches it.
type instance struct {
	*engine
	server   *dbserver.Server
	kit      *cloudsqltest.Server
	emulated *cloudsqltest.EmulatedInstance
	dialer   *cloudsqlconn.Dialer
	network  *network
	database string // sharedDatabase, or one of the test's own
}

// newInstance returns an instance of the shared server.
func (e *engine) newInstance(t *testing.T, opts ...cloudsqlconn.Option) *instance {
	t.Helper()
	return e.newInstanceOf(t, e.sharedServer(t), cloudsqltest.Instance{}, opts...)
}

// newInstanceOf returns an instance of server, otherwise as cfg says, with a
// Dialer that has the further options opts.
func (e *engine) newInstanceOf(t *testing.T, server *dbserver.Server, cfg cloudsqltest.Instance, opts ...cloudsqlconn.Option) *instance {
	t.Helper()
	i := &instance{engine: e, server: server, kit: cloudsqltest.NewServer(), database: sharedDatabase}
	t.Cleanup(i.kit.Close)
	cfg.DatabaseVersion, cfg.Backend, cfg.IAMBackend = e.version, cmp.Or(cfg.Backend, server.TCPAddr()), server.SocketAddr()
	i.emulated = i.kit.AddInstance(instanceName, cfg)
	i.network = &network{kit: i.kit}
	i.dialer = i.newDialer(t, opts...)
	return i
}

// newDialer returns another Dialer for the instance.
func (i *instance) newDialer(t *testing.T, opts ...cloudsqlconn.Option) *cloudsqlconn.Dialer {
	t.Helper()
	all := append(i.kit.Options(), cloudsqlconn.WithDialFunc(i.network.DialContext))
	d, err := cloudsqlconn.NewDialer(t.Context(), append(all, opts...)...)
	wantNil(t, err)
	t.Cleanup(func() { wantNil(t, d.Close()) })
	return d
}

// databases counts the databases made, to give each a name.
var databases atomic.Int64

// withDatabase gives the instance a database of its own, which lives as long
// as the server.
func (i *instance) withDatabase(t *testing.T) *instance {
	t.Helper()
	i.database = fmt.Sprintf("e2e_%d", databases.Add(1))
	wantNil(t, i.server.Exec(t.Context(), fmt.Sprintf(i.createDatabase, i.database)))
	return i
}

// open returns a pool of connections to the database.
func (i *instance) open(t *testing.T, who login, opts ...cloudsqlconn.DialOption) *sql.DB {
	t.Helper()
	return i.openWith(t, i.dialer, who, opts...)
}

// openWith is open with another Dialer.
func (i *instance) openWith(t *testing.T, d *cloudsqlconn.Dialer, who login, opts ...cloudsqlconn.DialOption) *sql.DB {
	t.Helper()
	c, err := i.connector(d, i.dsn(instanceName, who, i.database), opts...)
	wantNil(t, err)
	db := sql.OpenDB(c)
	t.Cleanup(func() { _ = db.Close() }) // fails if a connection has been cut
	return db
}

// network is the way to the instances. It keeps what was dialled.
type network struct {
	kit *cloudsqltest.Server

	mu    sync.Mutex // guards everything below
	addrs []string
	conns []net.Conn
}

func (n *network) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := n.kit.DialContext(ctx, network, addr)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.addrs = append(n.addrs, addr)
	if err == nil {
		n.conns = append(n.conns, c)
	}
	return c, err
}

// dialled returns the addresses dialled so far and the connections made.
func (n *network) dialled() ([]string, []net.Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]string(nil), n.addrs...), append([]net.Conn(nil), n.conns...)
}
