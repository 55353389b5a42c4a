package auth

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"
)

// replaceableAfter is the age from which on a token that is refused may have
// been revoked, or its key replaced. A younger one is refused for another
// reason: the next one would be, too.
const replaceableAfter = time.Minute

// Source gives tokens of one scope, the same one for as long as it is good. Its
// methods are safe for concurrent use.
type Source struct {
	creds   *Credentials
	scope   string
	reserve time.Duration // of life, that a token needs to be used again

	held atomic.Pointer[heldToken] // nil: none
}

// heldToken is a token and the time of its making.
type heldToken struct {
	*oauth2.Token
	made time.Time
}

// Token returns the token that is held, or makes a new one. Two callers at the
// same time may make two.
func (s *Source) Token() (*oauth2.Token, error) {
	if h := s.held.Load(); h != nil && (h.Expiry.IsZero() || time.Until(h.Expiry.Round(0)) > s.reserve) {
		return h.Token, nil
	}
	l := s.creds.current()
	tok, err := s.make(l)
	if err != nil {
		s.creds.forget(l) // by the next time they may have been replaced
		return nil, err
	}
	if tok.AccessToken != "" {
		s.held.Store(&heldToken{tok, time.Now()})
	}
	return tok, nil
}

// Replace is told that a token was refused, and reports whether the next one may
// be better. It looks the credentials up again for that: their file may have
// been replaced.
func (s *Source) Replace(refused string) bool {
	h := s.held.Load()
	if h == nil || h.AccessToken != refused {
		return true // it has been replaced in the meantime
	}
	if time.Since(h.made) < replaceableAfter {
		return false
	}
	if s.held.CompareAndSwap(h, nil) {
		s.creds.forget(s.creds.current())
	}
	return true
}

func (s *Source) make(l *lookup) (*oauth2.Token, error) {
	id, err := l.result()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	if s.creds.cfg.HTTPClient != nil {
		ctx = context.WithValue(ctx, oauth2.HTTPClient, s.creds.cfg.HTTPClient)
	}
	tok, err := id.token(s.creds.hedged(ctx), s.scope)
	if err != nil {
		return nil, err
	}
	return withQuotaProject(tok, id.quotaProject), nil
}
