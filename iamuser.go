package cloudsqlconn

import (
	"context"
	"strings"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
)

// IAMPrincipal returns the e-mail address of the account that the Dialer's
// credentials belong to, for [FormatIAMUser]. It is "" if the credentials do not
// say: those of users, of external accounts without a service account, and
// token sources of the caller's.
//
// The first call may read a file or ask the metadata server; ctx bounds the
// wait for that. The address is kept until the credentials are looked up again.
// See [ConnInfo.LoginPrincipal] about certificates made before that.
func (d *Dialer) IAMPrincipal(ctx context.Context) (string, error) {
	if d.ctx.Err() != nil {
		return "", &Error{Op: OpRefresh, Err: ErrDialerClosed}
	}
	if d.credentials == nil {
		return "", nil
	}
	email, err := d.credentials.Email(ctx)
	if err != nil {
		return "", d.reason("", d.newError(OpRefresh, "", &admin.TokenError{Err: err}))
	}
	return email, nil
}

// IAMAuthN reports whether a Dial with opts logs in with the caller's IAM
// identity. Driver packages call it to put the user's name into the right form.
func (d *Dialer) IAMAuthN(opts ...DialOption) bool {
	dc, err := d.cfg.dial.with(opts)
	return err == nil && dc.iam
}

// FormatIAMUser returns the database user name of an IAM principal, given as an
// e-mail address, for the engine that [Dialer.EngineVersion] names:
//
//   - PostgreSQL: the address, for service accounts without
//     ".gserviceaccount.com"
//   - MySQL: the part before "@"
//
// Addresses are lowercased, as Cloud SQL stores them. Names that are already in this
// form, and those for other engines, are returned unchanged. Sources: the
// README of Google's Python connector; Cloud SQL's documentation of IAM users,
// which are in lower case.
func FormatIAMUser(engineVersion, principal string) string {
	if !strings.Contains(principal, "@") {
		return principal
	}
	switch {
	case strings.HasPrefix(engineVersion, "POSTGRES"):
		return strings.TrimSuffix(strings.ToLower(principal), ".gserviceaccount.com")
	case strings.HasPrefix(engineVersion, "MYSQL"):
		user, _, _ := strings.Cut(strings.ToLower(principal), "@")
		return user
	}
	return principal
}
