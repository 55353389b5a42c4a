package sqldriver

import (
	"context"
	"fmt"

	"github.com/cloudsqlconn/cloudsqlconn"
)

// IAMUser returns the database user that a Dial of the instance with opts logs
// in as, for a data source name that has none.
func IAMUser(ctx context.Context, d *cloudsqlconn.Dialer, instance, engine string, opts []cloudsqlconn.DialOption) (string, error) {
	principal, err := d.LoginPrincipal(ctx, instance, opts...)
	if err != nil {
		return "", err
	}
	if principal == "" {
		return "", fmt.Errorf("%w: the data source name has no user, and the credentials do not tell whose they are; add the user, such as me@example.com", cloudsqlconn.ErrConfig)
	}
	return cloudsqlconn.FormatIAMUser(engine, principal), nil
}
