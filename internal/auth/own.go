package auth

import (
	"context"
	"errors"
	"time"

	"golang.org/x/oauth2"
)

// ownRest is how long a source that gives unusable tokens is left alone.
const ownRest = 5 * time.Second

// Own is a token source of the caller's. It is asked for many callers at once,
// each of which waits on its own context, and only for tokens that can be used.
// A source that never returns keeps one goroutine. The methods are safe for
// concurrent use.
type Own struct {
	ts   oauth2.TokenSource
	what string // it gives, for errors: a token, a login token

	asking shared[*oauth2.Token]

	// Of asking's goroutine, of which there is one at a time.
	flaw   *OwnError // what the last tokens were; nil: nothing is wrong
	flawed time.Time // when
}

// NewOwn returns a source that asks ts, and in errors says "a token", "a login
// token" and the like of what it gives.
func NewOwn(ts oauth2.TokenSource, what string) *Own { return &Own{ts: ts, what: what} }

// TokenContext returns the source's token. Its errors are ctx's, the source's,
// or a [*OwnError] if it gave two tokens that cannot be used; such a source
// is not asked again for 5 s.
func (o *Own) TokenContext(ctx context.Context) (*oauth2.Token, error) {
	tok, err := o.asking.do(ctx, context.Background(), o.ask)
	if errors.Is(err, errGone) {
		err = &OwnError{Problem: "an empty token, and ended its goroutine"}
	}
	return tok, err
}

// ask asks the source, and once more at once if the token cannot be used: it
// may have expired on its way here.
func (o *Own) ask() (*oauth2.Token, error) {
	if o.flaw != nil && time.Since(o.flawed) < ownRest {
		return nil, o.flaw
	}
	for again := false; ; again = true {
		tok, err := o.ts.Token()
		if err != nil {
			return nil, err
		}
		flaw := o.flawOf(tok)
		switch {
		case flaw == nil:
			o.flaw = nil
			return tok, nil
		case again, o.flaw != nil && *o.flaw == *flaw:
			o.flaw, o.flawed = flaw, time.Now()
			return nil, flaw
		}
	}
}

// flawOf returns what is wrong with a token, or nil.
func (o *Own) flawOf(tok *oauth2.Token) *OwnError {
	switch {
	case tok == nil, tok.AccessToken == "":
		return &OwnError{Problem: "an empty token"}
	case !tok.Expiry.IsZero() && !time.Now().Before(tok.Expiry):
		return &OwnError{Problem: o.what + " that expired at " + tok.Expiry.UTC().Format(time.RFC3339)}
	}
	return nil
}
