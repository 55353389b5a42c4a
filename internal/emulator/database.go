package emulator

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/dbserver"
)

// database is what stands behind an instance.
type database struct {
	about               string // for people
	client              string // program of people; "" is the engine's usual one
	version             string // as the Admin API calls it
	backend, iamBackend string
	user, password      string         // to try; empty if it is somebody else's database
	name                string         // of the database for that
	iamUser             string         // to try
	end                 func() error   // ends it, once; nil if it is somebody else's
	serve               func(net.Conn) // nil if it is not in this process
}

// Close ends the database, if it is the emulator's. It may be called again.
func (d *database) Close() error {
	if d.end == nil {
		return nil
	}
	return d.end()
}

// interrupt ends the queries of a database in this process, for which the end of
// its instance would wait. Close tells how that went.
func (d *database) interrupt() {
	if d.serve != nil {
		_ = d.Close()
	}
}

// app is the user, the password and the database of a private server.
const app = "app"

// openDatabase starts a server if the backend is auto, and opens a database if
// it is embedded.
func (e *emulator) openDatabase(ctx context.Context, cfg *instance) (*database, error) {
	switch cfg.Backend {
	case auto:
		return e.startDatabase(ctx, cfg)
	case embedded:
		return e.openEmbedded(cfg)
	case echo:
		return &database{about: "none: what clients send comes back", version: versionOf(cfg), serve: cloudsqltest.Echo}, nil
	}
	e.warnIfDown(ctx, cfg.Name, cfg.Backend)
	if cfg.IAMBackend != "" {
		e.warnIfDown(ctx, cfg.Name, cfg.IAMBackend)
	}
	return &database{about: "at " + cfg.Backend, version: versionOf(cfg), backend: cfg.Backend, iamBackend: cfg.IAMBackend}, nil
}

// warnIfDown says so if a backend cannot be reached. It may come up later.
func (e *emulator) warnIfDown(ctx context.Context, instance, backend string) {
	network := "tcp"
	if strings.ContainsAny(backend, `/\`) {
		network = "unix"
	}
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, network, backend)
	if err != nil {
		e.log.Warn("the backend cannot be reached; clients' connections will end at once until it can", "instance", instance, "backend", backend, "error", err)
		return
	}
	_ = conn.Close()
}

func versionOf(cfg *instance) string {
	if cfg.Version != "" {
		return cfg.Version
	}
	return engines[cfg.Engine].version
}

// product is a database server that auto starts.
type product struct {
	name    string
	start   func(context.Context, dbserver.Options) (*dbserver.Server, error)
	version func(major, minor string) string // as the Admin API calls it; nil: as if it were MySQL
	client  string                           // its program for people
}

// privateServers are what auto takes for an engine: the first that is installed.
var privateServers = map[string][]product{
	"postgres": {{"PostgreSQL", dbserver.StartPostgres, func(major, _ string) string { return "POSTGRES_" + major }, "psql"}},
	"mysql": {
		{"MariaDB", dbserver.StartMariaDB, nil, "mariadb"},
		{"MySQL", dbserver.StartMySQL, func(major, minor string) string { return "MYSQL_" + major + "_" + minor }, "mysql"},
	},
}

func startPrivate(ctx context.Context, products []product) (*dbserver.Server, product, error) {
	var missing []error
	for _, p := range products {
		server, err := p.start(ctx, dbserver.Options{})
		if !errors.Is(err, dbserver.ErrNotInstalled) {
			return server, p, err
		}
		missing = append(missing, err)
	}
	return nil, product{}, errors.Join(missing...)
}

// startDatabase starts a private server, with the user app and the IAM users.
func (e *emulator) startDatabase(ctx context.Context, cfg *instance) (_ *database, err error) {
	d := &database{version: versionOf(cfg), user: app, password: app, name: app}
	server, product, err := startPrivate(ctx, privateServers[cfg.Engine])
	if errors.Is(err, dbserver.ErrNotInstalled) {
		return nil, fmt.Errorf("backend auto: %w; or name a server of your own as the backend; or embedded: %s", err, howEmbedded)
	} else if err != nil {
		return nil, err
	}
	d.end = sync.OnceValue(server.Close)
	defer func() {
		if err != nil {
			err = errors.Join(err, server.Close())
		}
	}()
	if cfg.Version == "" && product.version != nil {
		major, rest, _ := strings.Cut(server.Version(), ".")
		minor, _, _ := strings.Cut(rest, ".")
		d.version = product.version(major, minor)
	}
	d.client = product.client
	d.about = product.name + " " + server.Version() + ", private to this emulator, gone when it ends"
	d.backend, d.iamBackend = server.TCPAddr(), server.SocketAddr()

	d.iamUser = cloudsqlconn.FormatIAMUser(d.version, e.cfg.self())
	statements := postgresUsers
	if cfg.Engine == "mysql" {
		statements = mysqlUsers
	}
	var users []string
	for _, p := range e.principals(cfg) {
		if user := cloudsqlconn.FormatIAMUser(d.version, p); user != app && !slices.Contains(users, user) {
			users = append(users, user)
		}
	}
	if err := server.Exec(ctx, statements(users)...); err != nil {
		return nil, err
	}
	return d, nil
}

// principals are those who may want to log in to an instance: first the one whose
// credentials the emulator gives out.
func (e *emulator) principals(cfg *instance) []string {
	list := []string{e.cfg.self()}
	for _, p := range e.cfg.Principals {
		list = append(list, p.Email)
	}
	return append(list, cfg.IAMUsers...)
}

func postgresUsers(iam []string) []string {
	statements := []string{
		`CREATE ROLE ` + app + ` LOGIN CREATEDB CREATEROLE PASSWORD '` + app + `'`,
		`CREATE DATABASE ` + app + ` OWNER ` + app,
	}
	for _, user := range iam {
		statements = append(statements, `CREATE ROLE "`+strings.ReplaceAll(user, `"`, `""`)+`" LOGIN IN ROLE `+app)
	}
	return statements
}

func mysqlUsers(iam []string) []string {
	const grant = "GRANT ALL ON *.* TO "
	statements := []string{
		"CREATE DATABASE " + app,
		"CREATE USER '" + app + "'@'127.0.0.1' IDENTIFIED BY '" + app + "'", grant + "'" + app + "'@'127.0.0.1'",
	}
	for _, user := range append([]string{app}, iam...) { // on the socket, without a password
		name := "'" + strings.NewReplacer(`'`, `''`, `\`, `\\`).Replace(user) + "'@'localhost'"
		statements = append(statements, "CREATE USER "+name, grant+name)
	}
	return statements
}

func randomToken() string { return "token-" + strings.ToLower(rand.Text()) }
