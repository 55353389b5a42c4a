package sqldriver

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/internal/refusal"
)

// HasLoginHint reports whether a refused login of user is one for LoginError. It is
// with IAM login, and without it if the name is an e-mail address: those are IAM's.
func HasLoginHint(iam bool, user string) bool {
	return iam || strings.Contains(user, "@")
}

// LoginError returns err, with which the database has refused user, as a
// [*cloudsqlconn.Error] with a hint. With IAM login, users with a password can log
// in as well: no name is wrong before it is refused.
func LoginError(ctx context.Context, d *cloudsqlconn.Dialer, instance, engine, user string, opts []cloudsqlconn.DialOption, err error) error {
	if !d.IAMAuthN(opts...) {
		hint := fmt.Sprintf("IAM login is off, and %q looks like a user of it: turn it on, with WithIAMAuthN or with cloudsql_iam_authn=true in the data source name. If the user has a password, it was wrong.", user)
		return &cloudsqlconn.Error{Op: cloudsqlconn.OpLogin, Instance: instance, Hint: hint, Err: err}
	}
	hint := loginHint(ctx, d, instance, engine, user)
	if d.SQLDataMode(opts...) != cloudsqlconn.SQLDataNever {
		hint += " Through SQL Data the user must be the account of the access token, hence that of WithImpersonation if it is set; a login token of WithIAMAuthNTokenSources does not count."
	}
	return &cloudsqlconn.Error{Op: cloudsqlconn.OpLogin, Instance: instance, Hint: hint, Err: err}
}

func loginHint(ctx context.Context, d *cloudsqlconn.Dialer, instance, engine, user string) string {
	ctx, cancel := context.WithTimeout(ctx, time.Second) // it is only for the hint
	defer cancel()
	principal, err := d.IAMPrincipal(ctx)
	if err != nil {
		principal = ""
	}
	switch right := cloudsqlconn.FormatIAMUser(engine, principal); {
	case principal != "" && right != user:
		return fmt.Sprintf("IAM login is on, and the credentials are those of %s, who is the database user %q: log in as that, or leave the user out. If %q is a built-in user, its password was wrong.", principal, right, user)
	case engine == Postgres && !strings.Contains(user, "@"):
		return fmt.Sprintf("IAM login is on, and for it a PostgreSQL user is an e-mail address, of service accounts without .gserviceaccount.com; %q is none. If it is a built-in user, its password was wrong.", user)
	}
	flag := "cloudsql.iam_authentication"
	if engine == MySQL {
		flag = "cloudsql_iam_authentication"
	}
	project, id := "PROJECT", "INSTANCE"
	if n, err := cloudsqlconn.ParseName(instance); err == nil {
		project, id = n.Project(), n.Instance()
	}
	return fmt.Sprintf("Look whether `gcloud sql users list --instance=%s --project=%s` has the user, with a type that begins with CLOUD_IAM, whether the account has the role Cloud SQL Instance User (roles/cloudsql.instanceUser), and whether the instance has the flag %s.", id, project, flag)
}

// PoolerError returns err, with which a pooler has refused an IAM login, as a
// [*cloudsqlconn.Error] with a hint, after which database/sql connects again: the
// pooler has seen another token now.
func PoolerError(instance string, err error) error {
	return &cloudsqlconn.Error{Op: cloudsqlconn.OpLogin, Instance: instance, Hint: poolerHint, Err: again{err}}
}

const poolerHint = "Unless the message is about something else, managed connection pooling had kept a login token that has expired. Connect again: it has seen a new one now. Programs keep the pooler's token fresh for the users and databases that they have logged in to before, unless WithLoginAfterRefresh is off."

// again is an error after which database/sql connects again.
type again struct{ error }

func (a again) Is(target error) bool { return target == driver.ErrBadConn }

func (a again) Unwrap() error { return a.error }

// ConnectError returns err, with which a connection to an instance could not be made
// ready, as a [*cloudsqlconn.Error], unless there is one in it.
func ConnectError(instance string, err error) error {
	if _, ok := errors.AsType[*cloudsqlconn.Error](err); ok || err == nil {
		return err
	}
	return &cloudsqlconn.Error{Op: cloudsqlconn.OpLogin, Instance: instance, Err: err}
}

// SilentError returns err, with which the connection to an instance has ended
// before the database said anything, as a [*cloudsqlconn.Error] with a hint.
func SilentError(instance string, err error) error {
	return &cloudsqlconn.Error{Op: cloudsqlconn.OpHandshake, Instance: instance, Hint: refusal.SilentHint, Err: err}
}
