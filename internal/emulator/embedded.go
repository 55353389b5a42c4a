package emulator

import (
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// Embedded is what the backend embedded can be: by engine, "postgres" or
// "mysql", a function that returns an empty database in this process. Who has a
// password logs in with the user and the password given.
type Embedded map[string]func(user, password, database string) (*Database, error)

// Database is a database in this process. The functions may be called from
// several goroutines.
type Database struct {
	About   string // for people
	Version string // as the Admin API calls it; POSTGRES_15, for example

	// Serve and ServeIAM serve a client until it leaves, or Close is called, and
	// close its connection. ServeIAM lets in every user, without a password.
	Serve, ServeIAM func(net.Conn)

	// Close ends the connections, and the database.
	Close func() error
}

// howEmbedded is for those who have another build.
const howEmbedded = "in a clone of https://github.com/cloudsqlconn/cloudsqlconn, `go run ./embedded/cmd/cloudsql-emulator` has one"

// openEmbedded opens a database for an instance.
func (e *emulator) openEmbedded(cfg *instance) (*database, error) {
	open := e.embedded[cfg.Engine]
	switch {
	case e.embedded == nil:
		return nil, errors.New("backend embedded: there is no database in this build: " + howEmbedded + "; or let auto start a private server")
	case open == nil:
		return nil, fmt.Errorf("backend embedded: there is no database for %s in this build; let auto start a private server", cfg.Engine)
	}
	db, err := open(app, app, app)
	if err != nil {
		return nil, fmt.Errorf("backend embedded: %w", err)
	}
	d := &database{
		about: db.About + ", in this process, gone when it ends", version: db.Version,
		user: app, password: app, name: app, end: sync.OnceValue(db.Close),
		serve: func(conn net.Conn) {
			if conn.(*cloudsqltest.Conn).Token() != "" {
				db.ServeIAM(conn)
			} else {
				db.Serve(conn)
			}
		},
	}
	if cfg.Version != "" {
		d.version = cfg.Version
	}
	d.iamUser = cloudsqlconn.FormatIAMUser(d.version, e.cfg.self())
	return d, nil
}
