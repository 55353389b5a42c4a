package auth

import (
	"context"
	"sync"
	"time"
)

// emailRest is how long a server is left alone that did not tell an address.
const emailRest = 5 * time.Second

// address is an e-mail address that a server tells: it is asked until it has
// told it.
type address struct {
	asking shared[string]

	mu     sync.Mutex // guards everything below
	known  string     // "": not told yet
	err    error      // of the last question; nil: none has failed
	failed time.Time  // when
}

// email returns the account's e-mail address, "" if nobody knows it.
func (g *generation) email(ctx context.Context) (string, error) {
	a := &g.address
	if known := g.knownEmail(); known != "" || g.askEmail == nil {
		return known, nil
	}
	a.mu.Lock()
	err, age := a.err, time.Since(a.failed)
	a.mu.Unlock()
	if err != nil && age < emailRest {
		return "", err
	}
	return a.asking.do(ctx, g.creds.ctx, g.tell)
}

// knownEmail is email without I/O.
func (g *generation) knownEmail() string {
	if g.account != "" {
		return g.account
	}
	g.address.mu.Lock()
	defer g.address.mu.Unlock()
	return g.address.known
}

// tell asks for the address, and keeps it.
func (g *generation) tell() (string, error) {
	ctx, cancel := context.WithTimeout(g.creds.ctx, callTimeout)
	defer cancel()
	email, err := g.askEmail(ctx)
	a := &g.address
	a.mu.Lock()
	defer a.mu.Unlock()
	a.known, a.err, a.failed = email, err, time.Now()
	return email, err
}
