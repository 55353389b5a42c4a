package faults_test

import (
	"context"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	pgdriver "github.com/cloudsqlconn/cloudsqlconn/driver/postgres"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/authtest"
)

// refuseLogin is a PostgreSQL that refuses every login with a message about the user, or
// about the database that is named like the user.
func refuseLogin(code, before string) func(net.Conn) {
	return func(c net.Conn) {
		defer c.Close()
		backend := pgproto3.NewBackend(c, c)
		msg, err := backend.ReceiveStartupMessage()
		if err != nil {
			return
		}
		user := msg.(*pgproto3.StartupMessage).Parameters["user"]
		backend.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: code, Message: strings.ReplaceAll(before, "USER", `"`+user+`"`)})
		_ = backend.Flush()
	}
}

// connectSQL fails to connect to PostgreSQL.
func connectSQL(dsn string) func(*world) error {
	return func(w *world) error {
		c, err := pgdriver.NewConnector(w.dialer, dsn)
		if err != nil {
			return err
		}
		_, err = c.Connect(context.Background())
		return err
	}
}

// loginFailures are refusals by the database, through driver/postgres.
func loginFailures(s *authtest.Server) []failure {
	const (
		host       = "host=" + testInstance
		iam        = host + " cloudsql_iam_authn=true"
		byIAM      = "Cloud SQL IAM user authentication failed for user USER"
		byPassword = "password authentication failed for user USER"
		noDatabase = "database USER does not exist"
	)
	known := func(dsn string) func(*world) error {
		return func(w *world) error {
			w.SetTokens("admin", "login")
			only(w, s.InProcess().Transport, cloudsqlconn.WithCredentialsJSON(s.ServiceAccount()))
			return connectSQL(dsn)(w)
		}
	}
	failing := func(name, code, before string, fail func(*world) error) failure {
		return failure{name: name, cfg: cloudsqltest.Instance{Handler: refuseLogin(code, before)}, fail: fail}
	}
	return []failure{
		failing("a wrong password, or no such user", "28P01", byPassword, connectSQL(host+" user=app password=hunter2")),
		failing("no password", "28P01", byPassword, connectSQL(host+" user=app")),
		failing("no such database", "3D000", noDatabase, connectSQL(host+" user=app password=hunter2")),
		failing("an e-mail address, and IAM login is off", "28P01", byPassword, connectSQL(host+" user=me@example.com")),
		failing("IAM login as somebody else than the credentials'", "28000", byIAM, known(iam+" user=me@example.com")),
		failing("IAM login as the account, which the instance does not let in", "28000", byIAM, known(iam)),
		failing("IAM login as a user with a password", "28000", byIAM, connectSQL(iam+" user=postgres")),
	}
}
