package cloudsqlconn

import (
	"context"
	"strings"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
)

// IAMPrincipal returns the e-mail address of the account that IAM login logs
// in as, for [FormatIAMUser]. It is "" if the credentials do not tell: those of
// users, of external accounts without a service account, and token sources of
// the caller's.
//
// The first call may read a file or ask the metadata server.
func (d *Dialer) IAMPrincipal(ctx context.Context) (string, error) {
	if d.credentials == nil {
		return "", nil
	}
	email, err := d.credentials.Email(ctx)
	if err != nil {
		return "", newError(opRefresh, "", &admin.TokenError{Err: err})
	}
	return email, nil
}

// FormatIAMUser returns the database user name of an IAM principal, given as an
// e-mail address, for the engine that [Dialer.EngineVersion] names:
//
//   - PostgreSQL: the address, for service accounts without
//     ".gserviceaccount.com"
//   - MySQL: what stands before "@"
//
// Names that are in this form already, and those for other engines, come back
// as they are. Source: the README of Google's Python connector.
func FormatIAMUser(engineVersion, principal string) string {
	switch {
	case strings.HasPrefix(engineVersion, "POSTGRES"):
		return strings.TrimSuffix(principal, ".gserviceaccount.com")
	case strings.HasPrefix(engineVersion, "MYSQL"):
		user, _, _ := strings.Cut(principal, "@")
		return user
	}
	return principal
}
