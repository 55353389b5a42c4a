package sqldriver

import (
	"context"
	"fmt"

	"github.com/cloudsqlconn/cloudsqlconn"
)

// IAMUser returns the database user that a connection logs in as, for a data source
// name that has none.
func IAMUser(ctx context.Context, conn cloudsqlconn.ConnInfo, engine string) (string, error) {
	principal, err := conn.LoginPrincipal(ctx)
	if err != nil {
		return "", err
	}
	if principal == "" {
		return "", NoUser(conn.Instance.String())
	}
	return cloudsqlconn.FormatIAMUser(engine, principal), nil
}

// CheckUser fails, before anything is dialled, if the credentials of d do not tell
// whose they are, for a data source name that has no user.
func CheckUser(ctx context.Context, d *cloudsqlconn.Dialer, instance string) error {
	principal, err := d.IAMPrincipal(ctx)
	if err == nil && principal == "" {
		err = NoUser(instance)
	}
	return err
}

// NoUser is the error of an IAM login of nobody.
func NoUser(instance string) error {
	return &cloudsqlconn.Error{
		Op:       cloudsqlconn.OpLogin,
		Instance: instance,
		Hint:     "Give the user as an e-mail address, such as me@example.com: it is known only of service accounts.",
		Err:      fmt.Errorf("%w: the data source name has no user, and the credentials do not tell whose they are; add the user, such as me@example.com", cloudsqlconn.ErrConfig),
	}
}
