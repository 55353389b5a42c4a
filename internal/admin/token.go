package admin

import (
	"context"
	"errors"

	"golang.org/x/oauth2"
)

// TokenError says that no OAuth 2.0 token could be had.
type TokenError struct{ Err error }

// Error names the step that failed.
func (e *TokenError) Error() string { return withCause("access token", e.Err) }

// Unwrap returns the token source's error.
func (e *TokenError) Unwrap() error { return e.Err }

var errEmptyToken = errors.New("the token source returned an empty token")

// token asks ts, but not for longer than ctx lasts: a TokenSource knows no
// context. A source that never returns keeps its goroutine.
func token(ctx context.Context, ts oauth2.TokenSource) (*oauth2.Token, error) {
	type result struct {
		tok *oauth2.Token
		err error
	}
	done := make(chan result, 1)
	go func() {
		tok, err := ts.Token()
		done <- result{tok, err}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return nil, &TokenError{Err: r.err}
		}
		if r.tok == nil || r.tok.AccessToken == "" {
			return nil, &TokenError{Err: errEmptyToken}
		}
		return r.tok, nil
	case <-ctx.Done():
		return nil, &TokenError{Err: ctx.Err()}
	}
}
