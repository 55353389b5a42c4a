package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn/internal/auth"
)

// TokenError says that no OAuth 2.0 token could be had.
type TokenError struct{ Err error }

// Error names the step that failed.
func (e *TokenError) Error() string { return withCause("access token", e.Err) }

// Unwrap returns the token source's error.
func (e *TokenError) Unwrap() error { return e.Err }

// Replacer is a source of tokens that does not give a refused one again.
type Replacer interface {
	oauth2.TokenSource

	// Replace is told that the API has refused a token. It reports whether the
	// next one may be better.
	Replace(refused string) bool
}

// sharedSource is a source of tokens for many callers. Its methods are safe for
// concurrent use.
type sharedSource struct {
	ts  oauth2.TokenSource
	ask func(context.Context) (*oauth2.Token, error)

	mu     sync.Mutex // guards failed
	failed error      // the last answer; nil: it was a token
}

// share returns ts, shared; nil for nil. what is the name of its tokens in
// errors.
func share(ts oauth2.TokenSource, what string) *sharedSource {
	if ts == nil {
		return nil
	}
	if s, ok := ts.(*auth.Source); ok {
		return &sharedSource{ts: ts, ask: s.TokenContext}
	}
	return &sharedSource{ts: ts, ask: auth.NewOwn(ts, what).TokenContext}
}

// token returns the source's token, but does not wait for longer than ctx
// lasts. If a source does not answer that has failed before, its error tells
// that too.
func (s *sharedSource) token(ctx context.Context) (*oauth2.Token, error) {
	tok, err := s.ask(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil:
		s.failed = nil
		return tok, nil
	case ctx.Err() == nil || !errors.Is(err, ctx.Err()):
		s.failed = err
	case s.failed != nil && Terminal(s.failed): // the refusal of then is none of now
		err = fmt.Errorf("%w; last error: %v", err, s.failed)
	case s.failed != nil:
		err = fmt.Errorf("%w; last error: %w", err, s.failed)
	}
	return nil, &TokenError{Err: err}
}

// replace reports whether the source may have a better token than this one,
// which the API has refused.
func (s *sharedSource) replace(refused string) bool {
	if s == nil {
		return false
	}
	r, ok := s.ts.(Replacer)
	return ok && r.Replace(refused)
}

// outdated reports whether a certificate with tok in it is to be asked for once
// more, with another token. err is what came of asking for the first. The API
// does not say what it holds against a token: any refusal may be about it.
func (s *sharedSource) outdated(tok *oauth2.Token, err error) bool {
	if err == nil {
		return auth.OriginOf(tok).Outdated() // the certificate is another account's than the next will be
	}
	call, ok := errors.AsType[*CallError](err)
	if !ok || Quota(call) {
		return false
	}
	switch code, _ := refusal(call); code {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden:
		return auth.OriginOf(tok).Outdated() || s.replace(tok.AccessToken)
	}
	return false
}
