package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
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
// and otherwise a stand-in; name chooses one of them.
func startEmulator(ctx context.Context, name, user, password, database string, iam bool) (*emulator, error) {
	e := &emulator{instance: "my-project:europe-west1:quickstart", stop: func() {}}
	var cfg cloudsqltest.Instance
	var err error
	switch name {
	case "auto":
		cfg, err = e.startPostgres(ctx, user, password, database, iam)
		if errors.Is(err, dbserver.ErrNotInstalled) || errors.Is(err, errors.ErrUnsupported) {
			cfg, err = e.startStandIn(), nil
		}
	case "postgres":
		cfg, err = e.startPostgres(ctx, user, password, database, iam)
	case "stand-in":
		cfg = e.startStandIn()
	default:
		err = fmt.Errorf("unknown engine %q; want auto, postgres or stand-in", name)
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

func (e *emulator) startStandIn() cloudsqltest.Instance {
	e.engine = "a stand-in for PostgreSQL, in this process"
	return cloudsqltest.Instance{DatabaseVersion: "POSTGRES_18", Handler: new(standIn).serve}
}

// identifier quotes a name for PostgreSQL.
func identifier(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
