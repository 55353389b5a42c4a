package sqldriver

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/internal/engine"
	"github.com/cloudsqlconn/cloudsqlconn/internal/refusal"
)

// Login is a login that the database refuses.
type Login struct {
	Dialer     *cloudsqlconn.Dialer
	Options    []cloudsqlconn.DialOption
	Instance   string // is what the errors name
	Engine     string
	User       string
	NoPassword bool // was given
}

// Refused returns err, with which the database has refused the user or the password, as
// a [*cloudsqlconn.Error] with a hint. With IAM login, users with a password can log
// in as well: no name is wrong before it is refused.
func (l Login) Refused(ctx context.Context, err error) error {
	if !l.Dialer.IAMAuthN(l.Options...) {
		if l.NoPassword {
			err = fmt.Errorf("%w; no password was given", err)
		}
		return l.error(l.passwordHint(), err)
	}
	hint := l.iamHint(ctx)
	if l.Dialer.SQLDataMode(l.Options...) != cloudsqlconn.SQLDataNever {
		hint += " Through SQL Data the user must be the account of the access token, hence that of WithImpersonation if it is set; a login token of WithIAMAuthNTokenSources does not count."
	}
	return l.error(hint, err)
}

// NoDatabase returns err, with which the database server has said that there is no such
// database, or none that the user may use, as a [*cloudsqlconn.Error] with a hint.
func (l Login) NoDatabase(err error) error {
	hint := "Look whether " + l.gcloud("databases list") + " has the database"
	if l.Engine == Postgres {
		return l.error(hint+"; without dbname in the data source name it is the one that is named like the user.", err)
	}
	return l.error(hint+", and whether the user may use it.", err)
}

func (l Login) error(hint string, err error) error {
	return &cloudsqlconn.Error{Op: cloudsqlconn.OpLogin, Instance: l.Instance, Hint: hint, Err: err}
}

// passwordHint is for a login without IAM.
func (l Login) passwordHint() string {
	const turnOn = "with WithIAMAuthN or with cloudsql_iam_authn=true in the data source name"
	set := l.setPassword()
	byIAM := engine.ByIAM(l.User) && l.Engine != SQLServer
	switch {
	case byIAM && l.NoPassword:
		return fmt.Sprintf("IAM login is off, and %q looks like a user of it: turn it on, %s. If the user has a password, put it into the data source name: none was given.", l.User, turnOn)
	case byIAM:
		return fmt.Sprintf("IAM login is off, and %q looks like a user of it: turn it on, %s. If the user has a password, it was wrong: set it anew with %s.", l.User, turnOn, set)
	}
	hint := fmt.Sprintf("The password of %q is wrong, or there is no such user: set the password anew with %s, or look for the user in %s.", l.User, set, l.gcloud("users list"))
	if l.NoPassword {
		hint = fmt.Sprintf("No password was given for %q: put it into the data source name, or set it anew with %s.", l.User, set)
	}
	if l.Engine == MySQL { // IAM's have names there like any other
		hint += " If the user is one of IAM, turn IAM login on, " + turnOn + "."
	}
	return hint
}

// plain are names of users that a shell takes as they are.
var plain = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.@-]*$`)

// setPassword is the command that sets the user's password.
func (l Login) setPassword() string {
	user := l.User
	if !plain.MatchString(user) {
		user = "USER"
	}
	if l.Engine == MySQL {
		user += " --host=%"
	}
	return l.gcloud("users set-password "+user, "--prompt-for-password")
}

// gcloud is a command about the instance.
func (l Login) gcloud(verb string, more ...string) string {
	project, id := "PROJECT", "INSTANCE"
	if n, err := cloudsqlconn.ParseName(l.Instance); err == nil {
		project, id = n.Project(), n.Instance()
	}
	words := append([]string{"gcloud sql", verb, "--instance=" + id, "--project=" + project}, more...)
	return "`" + strings.Join(words, " ") + "`"
}

// iamHint is for a login by IAM.
func (l Login) iamHint(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, time.Second) // it is only for the hint
	defer cancel()
	principal, err := l.Dialer.IAMPrincipal(ctx)
	if err != nil {
		principal = ""
	}
	switch right := cloudsqlconn.FormatIAMUser(l.Engine, principal); {
	case principal != "" && right != l.User:
		return fmt.Sprintf("IAM login is on, and the credentials are those of %s, who is the database user %q: log in as that, or leave the user out. If %q is a built-in user, its password was wrong.", principal, right, l.User)
	case l.Engine == Postgres && !engine.ByIAM(l.User):
		return fmt.Sprintf("IAM login is on, and for it a PostgreSQL user is an e-mail address, of service accounts without .gserviceaccount.com; %q is none. If it is a built-in user, its password was wrong.", l.User)
	}
	flag := "cloudsql.iam_authentication"
	if l.Engine == MySQL {
		flag = "cloudsql_iam_authentication"
	}
	return fmt.Sprintf("Look whether %s has the user, with a type that begins with CLOUD_IAM, whether the account has the role Cloud SQL Instance User (roles/cloudsql.instanceUser), and whether the instance has the flag %s.", l.gcloud("users list"), flag)
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
