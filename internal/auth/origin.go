package auth

import (
	"context"

	"golang.org/x/oauth2"
)

// Origin is the credentials that a token was made with. Of a nil one, that of a
// token of the caller's own source, nothing is known.
type Origin struct{ gen *generation }

// originKey is where a token keeps its origin.
const originKey = "origin"

// OriginOf returns the origin of a token, which can be nil.
func OriginOf(tok *oauth2.Token) *Origin {
	if tok == nil {
		return nil
	}
	o, _ := tok.Extra(originKey).(*Origin)
	return o
}

// Email returns the e-mail address of the account that the token is for, or ""
// if nobody knows it.
func (o *Origin) Email(ctx context.Context) (string, error) {
	if o == nil {
		return "", nil
	}
	return o.gen.email(ctx)
}

// Outdated reports whether the credentials have been refused or looked up again
// since: the token may be no good any more, or another account's than tokens are
// for that are made now.
func (o *Origin) Outdated() bool {
	if o == nil {
		return false
	}
	gen, _ := o.gen.creds.inUse()
	return gen != o.gen
}

// QuotaProject returns the project that the credentials of a token name for
// calls to be counted for, or "".
func QuotaProject(tok *oauth2.Token) string {
	if o := OriginOf(tok); o != nil {
		return o.gen.quotaProject
	}
	return ""
}
