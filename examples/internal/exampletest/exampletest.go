// Package exampletest gives the tests of the examples an emulated instance with
// a real database behind it.
package exampletest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/dbserver"
)

// What the examples connect to: the instance, and in it the user app, whose
// password is secret, and the database shop.
const (
	Instance = "my-project:europe-west1:my-db"
	User     = "app"
	Password = "secret"
	Database = "shop"
)

// Cloud is an emulated Cloud SQL with one instance.
type Cloud struct {
	*cloudsqltest.Server
	Proxy *cloudsqltest.Proxy
}

// Postgres starts an instance that is a real PostgreSQL. more is run as its
// superuser, in the database shop.
func Postgres(t *testing.T, more ...string) *Cloud {
	t.Helper()
	return emulate(t, "POSTGRES_15", StartPostgres(t, more...))
}

// StartPostgres starts the PostgreSQL of [Postgres] alone.
func StartPostgres(t *testing.T, more ...string) *dbserver.Server {
	t.Helper()
	return start(t, dbserver.StartPostgres, append([]string{
		fmt.Sprintf(`CREATE ROLE %s LOGIN PASSWORD '%s'`, User, Password),
		fmt.Sprintf(`CREATE DATABASE %s OWNER %s`, Database, User),
		`\connect ` + Database,
	}, more...))
}

// MariaDB starts an instance that is a real MariaDB.
func MariaDB(t *testing.T) *Cloud {
	t.Helper()
	return emulate(t, "MYSQL_8_0", start(t, dbserver.StartMariaDB, []string{
		fmt.Sprintf("CREATE USER '%s'@'127.0.0.1' IDENTIFIED BY '%s'", User, Password),
		fmt.Sprintf("CREATE DATABASE %s", Database),
		fmt.Sprintf("GRANT ALL ON %s.* TO '%s'@'127.0.0.1'", Database, User),
	}))
}

// start starts a server. One that is not installed is a reason to skip the
// test, but not in CI.
func start(t *testing.T, server func(context.Context, dbserver.Options) (*dbserver.Server, error), setUp []string) *dbserver.Server {
	t.Helper()
	db, err := server(t.Context(), dbserver.Options{})
	if missing := errors.Is(err, dbserver.ErrNotInstalled) || errors.Is(err, errors.ErrUnsupported); missing && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := db.Exec(t.Context(), setUp...); err != nil {
		t.Fatal(err)
	}
	return db
}

func emulate(t *testing.T, version string, db *dbserver.Server) *Cloud {
	t.Helper()
	return Emulate(t, cloudsqltest.Instance{DatabaseVersion: version, Backend: db.TCPAddr(), IAMBackend: db.SocketAddr()})
}

// Emulate starts any instance.
func Emulate(t *testing.T, cfg cloudsqltest.Instance) *Cloud {
	t.Helper()
	c := &Cloud{Server: cloudsqltest.NewServer()}
	t.Cleanup(c.Close)
	c.Proxy = c.AddInstance(Instance, cfg)
	return c
}

// Forbid starts a cloud in which nobody may do anything, as without the role
// Cloud SQL Client.
func Forbid(t *testing.T) *Cloud {
	t.Helper()
	c := Emulate(t, cloudsqltest.Instance{})
	refusal := &cloudsqltest.Fault{
		Status: http.StatusForbidden,
		Body:   cloudsqltest.ErrorBody(http.StatusForbidden, "The client is not authorized to make this request.", "notAuthorized"),
	}
	c.OnRequest = func(*http.Request) *cloudsqltest.Fault { return refusal }
	return c
}

// Hint is a piece of what the examples say then.
const Hint = "roles/cloudsql.client"
