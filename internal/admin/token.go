package admin

import (
	"context"
	"sync"

	"golang.org/x/oauth2"
)

// TokenError says that no OAuth 2.0 token could be had.
type TokenError struct{ Err error }

// Error names the step that failed.
func (e *TokenError) Error() string { return withCause("access token", e.Err) }

// Unwrap returns the token source's error.
func (e *TokenError) Unwrap() error { return e.Err }

// SourceError says that a token source gave a token that is no good.
type SourceError struct{ Problem string }

// Error tells what it gave.
func (e *SourceError) Error() string { return "the token source returned " + e.Problem }

// Replacer is a source of tokens that does not give a refused one again.
type Replacer interface {
	oauth2.TokenSource

	// Replace is told that the API has refused a token. It reports whether the
	// next one may be better.
	Replace(refused string) bool
}

var errEmptyToken = &SourceError{Problem: "an empty token"}

// sharedSource asks a TokenSource for many callers: whoever comes while it is
// being asked joins that call. Its methods are safe for concurrent use.
type sharedSource struct {
	ts oauth2.TokenSource

	mu   sync.Mutex // guards call
	call *tokenCall // under way; nil: none
}

// tokenCall is a call of a TokenSource. Its result stands once done is closed.
type tokenCall struct {
	done chan struct{}
	tok  *oauth2.Token
	err  error
}

// share returns ts, shared; nil for nil.
func share(ts oauth2.TokenSource) *sharedSource {
	if ts == nil {
		return nil
	}
	return &sharedSource{ts: ts}
}

// token returns the source's token, but does not wait for longer than ctx
// lasts: a TokenSource knows no context. A source that never returns keeps one
// goroutine.
func (s *sharedSource) token(ctx context.Context) (*oauth2.Token, error) {
	call := s.ask()
	select {
	case <-call.done:
	case <-ctx.Done():
		return nil, &TokenError{Err: ctx.Err()}
	}
	if call.err != nil {
		return nil, &TokenError{Err: call.err}
	}
	if call.tok == nil || call.tok.AccessToken == "" {
		return nil, &TokenError{Err: errEmptyToken}
	}
	return call.tok, nil
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

// ask returns the call under way, or begins one.
func (s *sharedSource) ask() *tokenCall {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.call == nil {
		s.call = &tokenCall{done: make(chan struct{})}
		go s.run(s.call) // no WaitGroup: nothing can end a source that hangs
	}
	return s.call
}

func (s *sharedSource) run(call *tokenCall) {
	defer func() { // deferred, since a source can end its goroutine
		s.mu.Lock()
		s.call = nil
		s.mu.Unlock()
		close(call.done)
	}()
	call.tok, call.err = s.ts.Token()
}
