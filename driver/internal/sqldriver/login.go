package sqldriver

import (
	"context"
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

// SilentError returns err, with which the connection to an instance has ended
// before the database said anything, as a [*cloudsqlconn.Error] with a hint.
func SilentError(instance string, err error) error {
	return &cloudsqlconn.Error{Op: cloudsqlconn.OpHandshake, Instance: instance, Hint: refusal.SilentHint, Err: err}
}
