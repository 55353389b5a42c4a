// Package auth makes OAuth 2.0 tokens from Google credentials: a file or its
// JSON, Application Default Credentials, and service accounts impersonated by
// them.
//
// Each token has one scope only, as far as the credentials allow it. These do
// not: user credentials give Admin API tokens of all scopes that the user
// granted (sqlservice.admin is none of gcloud's), and on Compute Engine the
// access scopes of the machine decide.
package auth

import (
	"cmp"
	"context"
	"net/http"
	"sync"
	"sync/atomic"
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

// callTimeout bounds a look-up, and a token: x/oauth2 has no bound by itself,
// and no token is asked for while another is on its way.
const callTimeout = 20 * time.Second

// Config says whose credentials to use. One of File, JSON and Base may be set;
// without them they are Application Default Credentials.
type Config struct {
	File string             // path of a credentials file
	JSON []byte             // what such a file contains
	Base oauth2.TokenSource // of the scope cloud-platform; needs Target

	Target    string   // e-mail of a service account to impersonate; "": none
	Delegates []string // e-mails of the service accounts between the credentials and Target

	Universe   string       // domain; "": DefaultUniverse
	HTTPClient *http.Client // for tokens, but the metadata server's; nil: http.DefaultClient

	// Hedged is told of each call that is made a second time, since it has not
	// been answered. Nil: nobody is.
	Hedged func(call string)
}

// Credentials make tokens. They are looked up at the first token of either
// kind, and again after a token or a look-up that failed. The methods are safe
// for concurrent use.
type Credentials struct {
	cfg    Config
	hedges hedges // of all calls

	mu   sync.Mutex // guards last; never held over I/O
	last *lookup    // nil: none, or one that failed
}

// lookup is one look-up of the credentials, made at its first use.
type lookup struct {
	result func() (*identity, error)
	found  atomic.Pointer[identity] // once result has been called and brought one
}

// identity is credentials that were found.
type identity struct {
	kind         string // see Description
	token        func(ctx context.Context, scope string) (*oauth2.Token, error)
	universe     string // "": unknown
	quotaProject string // "": none

	// email returns the account's e-mail address. Nil: it is not known.
	email   func(ctx context.Context) (string, error)
	account string // what email returns, if nobody has to be asked
}

// New returns credentials. It reads nothing yet.
func New(cfg Config) *Credentials {
	cfg.Universe = cmp.Or(cfg.Universe, DefaultUniverse)
	return &Credentials{cfg: cfg, hedges: hedges{told: cfg.Hedged}}
}

// Admin returns a source of tokens for Admin API calls. Its errors are a
// [*NotFoundError], a [*ConfigError], a [*RefusedError], the metadata server's,
// or of the network.
func (c *Credentials) Admin() *Source {
	return &Source{creds: c, scope: adminScope, reserve: adminReserve}
}

// Login is like Admin, for tokens that go into certificates for IAM login.
func (c *Credentials) Login() *Source {
	return &Source{creds: c, scope: loginScope, reserve: loginReserve}
}

// Email returns the e-mail address of the account that the tokens are for, or
// "" if the credentials do not tell: those of users and of external accounts.
func (c *Credentials) Email(ctx context.Context) (string, error) {
	l := c.current()
	id, err := l.result()
	if err != nil {
		c.forget(l)
		return "", err
	}
	if id.email == nil {
		return "", nil
	}
	return id.email(ctx)
}

// belongsTo says whose the credentials are.
func (id *identity) belongsTo(address string) {
	id.account = address
	id.email = func(context.Context) (string, error) { return address, nil }
}

// KnownEmail is Email without I/O: it returns "" also if the credentials have
// not been looked up, or the metadata server would have to be asked. c can be
// nil.
func (c *Credentials) KnownEmail() string {
	if c == nil {
		return ""
	}
	c.mu.Lock()
	l := c.last
	c.mu.Unlock()
	if l == nil {
		return ""
	}
	if id := l.found.Load(); id != nil {
		return id.account
	}
	return ""
}

// current returns the look-up that holds, or a new one.
func (c *Credentials) current() *lookup {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == nil {
		l := new(lookup)
		l.result = sync.OnceValues(func() (*identity, error) {
			id, err := c.find()
			l.found.Store(id)
			return id, err
		})
		c.last = l
	}
	return c.last
}

// forget makes the next token look the credentials up again.
func (c *Credentials) forget(l *lookup) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == l {
		c.last = nil
	}
}

// quotaKey is where a token keeps the quota project of its credentials.
const quotaKey = "quota_project_id"

func withQuotaProject(tok *oauth2.Token, project string) *oauth2.Token {
	if project == "" {
		return tok
	}
	return tok.WithExtra(map[string]any{quotaKey: project})
}

// QuotaProject returns the project that the credentials of a token name for
// calls to be counted for, or "".
func QuotaProject(tok *oauth2.Token) string {
	project, _ := tok.Extra(quotaKey).(string)
	return project
}
