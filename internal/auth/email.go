package auth

import (
	"context"
	"sync/atomic"
	"time"
)

const (
	// emailRest is how long a server is left alone that did not tell an address.
	emailRest = 5 * time.Second

	// emailPatience is how long an address is worth waiting for that is only for
	// people to read.
	emailPatience = 5 * time.Second
)

// address is an e-mail address that a server tells. It is asked until it has
// told it.
type address struct {
	asking shared[string]
	known  atomic.Pointer[string] // nil: not told yet

	// Of asking's goroutine, of which there is one at a time.
	err    error     // of the last question; nil: none has failed
	failed time.Time // when
}

// email returns the account's e-mail address, "" if nobody knows it.
func (g *generation) email(ctx context.Context) (string, error) {
	if known := g.knownEmail(); known != "" || g.askEmail == nil {
		return known, nil
	}
	return g.address.asking.do(ctx, g.creds.ctx, g.tell)
}

// knownEmail is email without I/O.
func (g *generation) knownEmail() string {
	if told := g.address.known.Load(); told != nil {
		return *told
	}
	return g.account
}

// tell asks for the address, and keeps it.
func (g *generation) tell() (string, error) {
	a := &g.address
	switch {
	case a.known.Load() != nil: // since a moment ago
		return *a.known.Load(), nil
	case a.err != nil && time.Since(a.failed) < emailRest:
		return "", a.err
	}
	ctx, cancel := context.WithTimeout(g.creds.ctx, callTimeout)
	defer cancel()
	email, err := g.askEmail(ctx)
	if a.err, a.failed = err, time.Now(); err != nil {
		return "", err
	}
	a.known.Store(&email)
	return email, nil
}
