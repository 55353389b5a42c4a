// Package auth makes OAuth 2.0 tokens from Google credentials: a file or its
// JSON, Application Default Credentials, and service accounts impersonated by
// them. It knows nothing of what the tokens are for.
//
// Each token has one scope only, as far as the credentials allow it. These do
// not: user credentials give Admin API tokens of all scopes that the user
// granted (sqlservice.admin is none of gcloud's), and on Compute Engine the
// access scopes of the machine decide.
package auth

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"golang.org/x/oauth2"
)

const (
	adminScope = "https://www.googleapis.com/auth/sqlservice.admin"
	loginScope = "https://www.googleapis.com/auth/sqlservice.login"
	// cloudScope is what the IAM Credentials API asks of its callers.
	cloudScope = "https://www.googleapis.com/auth/cloud-platform"
)

// DefaultUniverse is the domain of Google's public cloud.
const DefaultUniverse = "googleapis.com"

// How much of a token's life must be left for it to be used again. A login
// token ends the certificate that it is put into, so that it must be fresh.
const (
	adminReserve = time.Minute
	loginReserve = 30 * time.Minute
)

// callTimeout bounds a look-up, a token and the question for an address:
// x/oauth2 has no bound by itself, and nothing is asked for a second time while
// it is on its way.
const callTimeout = 20 * time.Second

// Config says whose credentials to use. One of File, JSON and Base may be set;
// without them they are Application Default Credentials.
type Config struct {
	File string             // path of a credentials file
	JSON []byte             // what such a file contains
	Base oauth2.TokenSource // of the scope cloud-platform; needs Target

	Target    string   // e-mail of a service account to impersonate; "": none
	Delegates []string // e-mails of the service accounts between the credentials and Target

	// MachineOnly says that Application Default Credentials are those of the
	// metadata server on loopback that GCE_METADATA_HOST names: no file is read, and
	// the metadata server of a real machine is not asked.
	MachineOnly bool

	Universe   string       // domain; "": DefaultUniverse
	HTTPClient *http.Client // for tokens, but the metadata server's; nil: http.DefaultClient

	// Hedged is told of each call that is made a second time, since it has not
	// been answered. Nil: nobody is.
	Hedged func(call string)
}

// ErrClosed is returned by the methods of closed Credentials.
var ErrClosed = errors.New("auth: credentials are closed")

// Credentials make tokens. They are looked up at the first use, and again once
// they, or a token of theirs, have been refused: see [generation]. Callers wait
// for no longer than their contexts last; the work is shared, and ends at Close
// or after callTimeout. The methods are safe for concurrent use.
type Credentials struct {
	cfg    Config
	hedges hedges          // of all calls
	base   *Own            // of cfg.Base; nil: none
	ctx    context.Context // of all work; ends at Close
	cancel context.CancelFunc

	looking shared[*generation] // look-ups

	mu    sync.Mutex  // guards everything below; never held over I/O
	gen   *generation // in use; nil: nothing has been found yet
	doubt bool        // gen is to be looked up again before the next token
}

// identity is credentials that were found.
type identity struct {
	kind         string // see Description
	token        func(ctx context.Context, scope string) (*oauth2.Token, error)
	universe     string // "": unknown
	quotaProject string // "": none

	account  string // e-mail address; "": askEmail tells it, or nobody
	askEmail func(ctx context.Context) (string, error)
}

// New returns credentials. It reads nothing yet. The caller closes them.
func New(cfg Config) *Credentials {
	cfg.Universe = cmp.Or(cfg.Universe, DefaultUniverse)
	c := &Credentials{cfg: cfg, hedges: hedges{told: cfg.Hedged}}
	if cfg.Base != nil {
		c.base = NewOwn(cfg.Base, "a token")
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// Close ends all work, and fails whoever waits for it with ErrClosed. It does
// not wait. c can be nil.
func (c *Credentials) Close() {
	if c != nil {
		c.cancel()
	}
}

// Admin returns a source of tokens for Admin API calls. Its errors are a
// [*NotFoundError], a [*ConfigError], a [*RefusedError], a [*OwnError], the
// metadata server's, of the network, or ErrClosed.
func (c *Credentials) Admin() *Source {
	return &Source{creds: c, kind: adminKind, scope: adminScope, reserve: adminReserve}
}

// Login is like Admin, for tokens that go into certificates for IAM login.
func (c *Credentials) Login() *Source {
	return &Source{creds: c, kind: loginKind, scope: loginScope, reserve: loginReserve}
}

// Email returns the e-mail address of the account that the tokens are for, or
// "" if the credentials do not tell: those of users and of external accounts.
func (c *Credentials) Email(ctx context.Context) (string, error) {
	gen, err := c.current(ctx)
	if err != nil {
		return "", err
	}
	return gen.email(ctx)
}

// belongsTo says whose the credentials are.
func (id *identity) belongsTo(address string) { id.account = address }

// KnownEmail is Email without I/O: it returns "" also if the credentials have
// not been looked up, or the metadata server would have to be asked. c can be
// nil.
func (c *Credentials) KnownEmail() string {
	if c == nil {
		return ""
	}
	c.mu.Lock()
	gen := c.gen
	c.mu.Unlock()
	if gen == nil {
		return ""
	}
	return gen.knownEmail()
}
