package auth

import (
	"context"
	"errors"
	"time"

	"golang.org/x/oauth2"
)

// replaceableAfter is the age from which on a token that is refused may have
// been revoked, or its key replaced. A younger one is refused for another
// reason: the next one would be, too.
const replaceableAfter = time.Minute

var errNoToken = errors.New("the reply of the server that issues access tokens holds none")

// Source gives tokens of one scope, the same one for as long as it is good. Its
// methods are safe for concurrent use.
type Source struct {
	creds   *Credentials
	kind    int
	scope   string
	reserve time.Duration // of life, that a token needs to be used again
}

// Token is TokenContext for callers without a context.
func (s *Source) Token() (*oauth2.Token, error) { return s.TokenContext(context.Background()) }

// TokenContext returns the token that is held, or makes a new one. Callers at
// the same time get the same one.
func (s *Source) TokenContext(ctx context.Context) (*oauth2.Token, error) {
	for {
		if gen, _ := s.creds.inUse(); gen != nil {
			if tok := s.heldBy(gen); tok != nil {
				return tok, nil
			}
		}
		gen, err := s.creds.current(ctx)
		if err != nil {
			return nil, err
		}
		tok, err := gen.tokens[s.kind].making.do(ctx, s.creds.ctx, func() (*oauth2.Token, error) { return s.make(gen) })
		if err != nil {
			return nil, err
		}
		if !OriginOf(tok).Outdated() {
			return tok, nil
		}
		// Another token was refused meanwhile: this one would be refused as well,
		// or be another account's.
	}
}

// heldBy returns the token that gen holds, if it will do.
func (s *Source) heldBy(gen *generation) *oauth2.Token {
	h := gen.tokens[s.kind].held.Load()
	if h == nil || !h.Expiry.IsZero() && time.Until(h.Expiry.Round(0)) <= s.reserve {
		return nil
	}
	return h.Token
}

// Replace is told that a token was refused, and reports whether the next one may
// be better. It drops both kinds of token, and has the credentials looked up
// again: their file may have been replaced.
func (s *Source) Replace(refused string) bool {
	c := s.creds
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gen == nil {
		return true
	}
	h := c.gen.tokens[s.kind].held.Load()
	if h == nil || h.AccessToken != refused {
		return true // it has been replaced in the meantime
	}
	if time.Since(h.made) < replaceableAfter {
		return false
	}
	c.gen, c.doubt = &generation{identity: c.gen.identity, creds: c}, true
	return true
}

// make makes a token of gen, which then holds it.
func (s *Source) make(gen *generation) (*oauth2.Token, error) {
	if tok := s.heldBy(gen); tok != nil { // since a moment ago
		return tok, nil
	}
	ctx, cancel := context.WithTimeout(s.creds.ctx, callTimeout)
	defer cancel()
	ctx = context.WithValue(ctx, oauth2.HTTPClient, endingWith(ctx, s.creds.cfg.HTTPClient))
	tok, err := gen.token(s.creds.hedged(ctx), s.scope)
	if err == nil && (tok == nil || tok.AccessToken == "") { // as x/oauth2 reads {}
		err = errNoToken
	}
	if err != nil {
		s.creds.refused(gen, err)
		return nil, err
	}
	tok = tok.WithExtra(map[string]any{originKey: &Origin{gen}})
	gen.tokens[s.kind].held.Store(&heldToken{tok, time.Now()})
	return tok, nil
}
