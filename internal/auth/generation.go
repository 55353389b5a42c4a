package auth

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"cloud.google.com/go/compute/metadata"
	"golang.org/x/oauth2"
)

// generation is an identity that a look-up has found, and all that has been got
// with it: tokens of both kinds, and the address. A refusal of any of its tokens
// ends it, so that the next ones, of both kinds, are of one account again. What
// comes after it is what a new look-up finds; as long as that finds nothing, it
// is the same identity.
type generation struct {
	*identity
	creds   *Credentials
	tokens  [kinds]slot
	address address
}

// The kinds of token.
const (
	adminKind = iota
	loginKind
	kinds
)

// slot is the place of one kind of token.
type slot struct {
	making shared[*oauth2.Token]
	held   atomic.Pointer[heldToken] // nil: none
}

// heldToken is a token and the time of its making.
type heldToken struct {
	*oauth2.Token
	made time.Time
}

// current returns the generation in use. It looks the credentials up if there is
// none, or they are in doubt.
func (c *Credentials) current(ctx context.Context) (*generation, error) {
	if gen, doubt := c.inUse(); gen != nil && !doubt {
		return gen, nil
	}
	return c.looking.do(ctx, c.ctx, c.lookUp)
}

func (c *Credentials) inUse() (gen *generation, doubt bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gen, c.doubt
}

// lookUp begins the generation that a look-up finds. If it finds none, the one
// in use goes on, and stays in doubt.
func (c *Credentials) lookUp() (*generation, error) {
	if gen, doubt := c.inUse(); gen != nil && !doubt { // since a moment ago
		return gen, nil
	}
	ctx, cancel := context.WithTimeout(c.ctx, callTimeout)
	defer cancel()
	id, err := c.find(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil:
		c.gen, c.doubt = &generation{identity: id, creds: c}, false
	case c.gen == nil:
		return nil, err
	}
	return c.gen, nil
}

// refused is told why gen could not make a token. By the next one, the
// credentials may have been replaced.
func (c *Credentials) refused(gen *generation, err error) {
	if !isRefusal(err) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gen == gen {
		c.doubt = true
	}
}

// isRefusal reports whether err says something about the credentials, and not
// about the way to a server, or its health.
func isRefusal(err error) bool {
	var (
		refused   *RefusedError
		unusable  *NotFoundError
		misfit    *ConfigError
		noAccount metadata.NotDefinedError
		vm        *metadata.Error
	)
	code := 0
	switch {
	case errors.As(err, &unusable), errors.As(err, &misfit), errors.As(err, &noAccount):
		return true
	case errors.As(err, &refused) && !refused.Stranger:
		code = refused.Code
	case errors.As(err, &vm):
		code = vm.Code
	}
	return code >= 400 && code < 500 && code != http.StatusRequestTimeout && code != http.StatusTooManyRequests
}
