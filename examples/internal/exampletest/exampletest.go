// Package exampletest gives the tests of the examples an emulated instance with
// a real database behind it.
package exampletest

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/dbtest"
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
	Instance *cloudsqltest.EmulatedInstance
}

// Postgres starts an instance that is a real PostgreSQL. more is run as its
// superuser, in the database shop.
func Postgres(t *testing.T, more ...string) *Cloud {
	t.Helper()
	return Emulate(t, dbtest.New(t, dbtest.PostgreSQL, append([]string{
		fmt.Sprintf(`CREATE ROLE %s LOGIN PASSWORD '%s'`, User, Password),
		fmt.Sprintf(`CREATE DATABASE %s OWNER %s`, Database, User),
		`\connect ` + Database,
	}, more...)...).Instance())
}

// MariaDB starts an instance that is a real MariaDB.
func MariaDB(t *testing.T) *Cloud {
	t.Helper()
	return Emulate(t, dbtest.New(t, dbtest.MariaDB,
		fmt.Sprintf("CREATE USER '%s'@'127.0.0.1' IDENTIFIED BY '%s'", User, Password),
		fmt.Sprintf("CREATE DATABASE %s", Database),
		fmt.Sprintf("GRANT ALL ON %s.* TO '%s'@'127.0.0.1'", Database, User),
	).Instance())
}

// Emulate starts any instance.
func Emulate(t *testing.T, cfg cloudsqltest.Instance) *Cloud {
	t.Helper()
	c := &Cloud{Server: cloudsqltest.NewServer()}
	t.Cleanup(c.Close)
	c.Instance = c.AddInstance(Instance, cfg)
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
