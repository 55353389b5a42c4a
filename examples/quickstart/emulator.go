package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/embedded/pgsqlite"
	"github.com/cloudsqlconn/cloudsqlconn/internal/dbserver"
)

// emulator is an emulated instance with a database behind it.
type emulator struct {
	*cloudsqltest.Server
	instance string
	engine   string // what the database is, for people
	stop     func()
}

// startEmulator runs a private PostgreSQL where its programs are installed,
// and otherwise SQLite in this process; name chooses one of them.
func startEmulator(ctx context.Context, name, user, password, database string, iam bool) (*emulator, error) {
	e := &emulator{instance: "my-project:europe-west1:quickstart", stop: func() {}}
	var cfg cloudsqltest.Instance
	var err error
	switch name {
	case "auto":
		cfg, err = e.startPostgres(ctx, user, password, database, iam)
		if errors.Is(err, dbserver.ErrNotInstalled) || errors.Is(err, errors.ErrUnsupported) {
			cfg, err = e.startSQLite()
		}
	case "postgres":
		cfg, err = e.startPostgres(ctx, user, password, database, iam)
	case "sqlite":
		cfg, err = e.startSQLite()
	default:
		err = fmt.Errorf("unknown engine %q; want auto, postgres or sqlite", name)
	}
	if err != nil {
		e.stop()
		return nil, err
	}
	e.Server = cloudsqltest.NewServer()
	e.AddInstance(e.instance, cfg)
	return e, nil
}

// Close ends the emulator and its database.
func (e *emulator) Close() {
	e.Server.Close()
	e.stop()
}

func (e *emulator) startPostgres(ctx context.Context, user, password, database string, iam bool) (cloudsqltest.Instance, error) {
	none := cloudsqltest.Instance{}
	db, err := dbserver.StartPostgres(ctx, dbserver.Options{})
	if err != nil {
		return none, err
	}
	e.stop = func() { _ = db.Close() }
	e.engine = "PostgreSQL " + db.Version() + ", a private server for this run"
	if iam {
		user = cloudsqlconn.FormatIAMUser("POSTGRES", user)
	}
	statements := []string{fmt.Sprintf(`CREATE ROLE %s SUPERUSER LOGIN`, identifier(user))}
	if database != "postgres" {
		statements = append(statements, fmt.Sprintf(`CREATE DATABASE %s`, identifier(database)))
	}
	if err := db.Exec(ctx, statements...); err != nil {
		return none, err
	}
	backend := db.TCPAddr() // asks for passwords
	if password == "" {
		backend = db.SocketAddr()
	} else if err := db.Exec(ctx, fmt.Sprintf(`ALTER ROLE %s PASSWORD '%s'`, identifier(user), strings.ReplaceAll(password, `'`, `''`))); err != nil {
		return none, err
	}
	major, _, _ := strings.Cut(db.Version(), ".")
	return cloudsqltest.Instance{DatabaseVersion: "POSTGRES_" + major, Backend: backend, IAMBackend: db.SocketAddr()}, nil
}

func (e *emulator) startSQLite() (cloudsqltest.Instance, error) {
	db, err := pgsqlite.New()
	if err != nil {
		return cloudsqltest.Instance{}, err
	}
	e.stop = func() { _ = db.Close() }
	e.engine = "SQLite, speaking PostgreSQL's protocol in this process"
	return cloudsqltest.Instance{DatabaseVersion: "POSTGRES_15", Handler: db.ServeConn}, nil
}

// identifier quotes a name for PostgreSQL.
func identifier(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
