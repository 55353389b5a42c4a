// Package admin asks the SQL Admin API how to reach an instance: its metadata
// (connectSettings), which has the addresses and their types, and a short-lived client
// certificate (generateEphemeralCert), together an [Info]. It knows nothing of when to ask.
package admin

import (
	"cmp"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn/internal/engine"
	"github.com/cloudsqlconn/cloudsqlconn/internal/hedge"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqladmin"
)

// DefaultEndpoint is the root of the API.
const DefaultEndpoint = "https://sqladmin.googleapis.com/"

// MaxRefreshes bounds the refreshes of one Client under way at once, so that
// a thousand instances do not open a thousand connections.
const MaxRefreshes = 16

// lastWord is how long the metadata is waited for once a certificate has been
// refused: if both are, it is always the metadata's refusal that is told.
const lastWord = 500 * time.Millisecond

// Config says how to reach the API, and as whom.
type Config struct {
	Endpoint     string       // root URL; empty: DefaultEndpoint
	HTTPClient   *http.Client // nil: a client of its own
	UserAgent    string
	QuotaProject string // X-Goog-User-Project; empty: that of API's tokens, if any

	// API authorises the calls. Nil: HTTPClient does that by itself. No source
	// is asked again while it has not answered, and none that gives unusable
	// tokens more often than every 5 s. One that can replace a token that was
	// refused is a [Replacer].
	API oauth2.TokenSource

	// Login gives the tokens that go into certificates for IAM login. It is
	// asked at every refresh. Nil: Fetch refuses IAM.
	Login oauth2.TokenSource

	// Principal returns the e-mail address of the account that the tokens are
	// for, without I/O, or "" if it is not known. Errors tell it. Nil: it is
	// never known.
	Principal func() string

	// Emulated says that Endpoint is an emulator's on this machine: if nothing
	// listens there, waiting will hardly help, see [AbsentError].
	Emulated bool

	// Hedged is told of each call that is made a second time, since it has not
	// been answered. Nil: nobody is.
	Hedged func(call string)

	// Key signs the client's part of handshakes. Its public half goes into
	// every certificate.
	Key func() (crypto.Signer, error)
}

// Instance names one instance.
type Instance struct {
	Project, Region, ID string
}

// Client calls the API. Its methods are safe for concurrent use.
type Client struct {
	cfg        Config
	host       string          // of the API
	api, login *sharedSource   // of cfg's sources; nil as they are
	root       string          // URL of the API, with a slash at its end
	clients    [2]*http.Client // the second is for hedges
	hedger     hedge.Hedger    // of all calls of the API
	slots      chan struct{}   // holds one element for each refresh under way
	offset     atomic.Int64    // how far this machine's clock is ahead of the API's, in nanoseconds
	closeAll   []func()        // for each transport of its own
}

// NewClient returns a client. It opens no connection.
func NewClient(cfg Config) (*Client, error) {
	root, err := url.Parse(cmp.Or(cfg.Endpoint, DefaultEndpoint))
	if err != nil {
		return nil, &ConfigError{Problem: "Admin API endpoint", Err: err}
	}
	c := &Client{
		cfg:   cfg,
		host:  root.Host,
		root:  rootURL(root),
		api:   share(cfg.API, "an access token"),
		login: share(cfg.Login, "a login token"),
		slots: make(chan struct{}, MaxRefreshes),
	}
	for i := range c.clients {
		client := cfg.HTTPClient
		if client == nil {
			// HTTP/2 has one connection for all calls: when that is dead, a hedge
			// gets through only on another.
			rt, closeAll := newTransport()
			client = &http.Client{Transport: rt}
			c.closeAll = append(c.closeAll, closeAll)
		}
		c.clients[i] = bounded(client, &c.offset)
	}
	return c, nil
}

// rootURL is what the paths of calls are appended to.
func rootURL(u *url.URL) string {
	root := u.JoinPath("/")
	root.RawQuery, root.Fragment = "", ""
	return root.String()
}

// Close closes the connections to the API, unless the HTTP client is the
// caller's. No Fetch may be running.
func (c *Client) Close() {
	c.hedger.Wait()
	for _, closeAll := range c.closeAll {
		closeAll()
	}
}

// Fetch asks for metadata and certificate at the same time and returns them
// with the time at which they expire: the earlier of the certificate's and,
// for iam, the login token's. Transient failures of either half are retried
// without repeating the other. For iam the certificate is asked for once the
// metadata names an engine that has IAM login: a login token is given to
// nobody who has no use for it.
func (c *Client) Fetch(ctx context.Context, inst Instance, iam bool) (*Info, time.Time, error) {
	fail := func(err error) (*Info, time.Time, error) { return nil, time.Time{}, err }
	if iam && c.login == nil {
		return fail(errNoLogin)
	}
	release, err := c.slot(ctx)
	if err != nil {
		return fail(err)
	}
	defer release()

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		wg      sync.WaitGroup
		cert    *certificate
		certErr error
		known   = make(chan struct{}) // closed when the metadata is there, or will not come
	)
	wg.Go(func() {
		if cert, certErr = c.certificate(ctx, inst, iam, known); certErr == nil {
			return
		}
		if call, ok := errors.AsType[*CallError](certErr); ok && call.answered() {
			select { // the metadata will most likely be refused, too
			case <-known:
			case <-time.After(lastWord):
			}
		}
		cancel()
	})
	asked := time.Now()
	settings, err := c.settings(ctx, inst)
	if err == nil && iam {
		err = checkIAM(settings.DatabaseVersion)
	}
	if err != nil {
		cancel()
	}
	close(known)
	wg.Wait()
	// The half that failed first cancelled the other; if both failed by
	// themselves, the metadata's error says more.
	if certErr != nil && (err == nil || isCanceled(err)) {
		err = certErr
	}
	if err != nil {
		return fail(err)
	}

	return c.join(inst, asked, settings, cert)
}

// join makes metadata and a certificate an Info, and says when it expires.
func (c *Client) join(inst Instance, asked time.Time, settings *sqladmin.ConnectSettings, cert *certificate) (*Info, time.Time, error) {
	info, err := newInfo(inst, settings, cert.tls)
	if err != nil {
		return nil, time.Time{}, err
	}
	info.Asked = asked
	info.ClockOffset, info.Login, info.Expiry = c.clockOffset(), cert.login, cert.expiry.Round(0)
	if now := time.Now(); !now.Before(info.Certificate.NotAfter) {
		return nil, time.Time{}, &ExpiredError{NotAfter: info.Certificate.NotAfter, Now: now, ClockOffset: info.ClockOffset}
	}
	return info, cert.expiry, nil
}

// clockOffset is how far this machine's clock is ahead of the API's, as the
// last reply shows it; zero before the first.
func (c *Client) clockOffset() time.Duration { return time.Duration(c.offset.Load()) }

// errNoLogin is for IAM login without a source of login tokens.
var errNoLogin = &ConfigError{Problem: "IAM login needs a token with the scope sqlservice.login, and the caller's token source cannot make one; use WithIAMAuthNTokenSources"}

// slot waits for the turn of a refresh. The caller releases it.
func (c *Client) slot(ctx context.Context) (release func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case c.slots <- struct{}{}:
		return func() { <-c.slots }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("waited for other refreshes, of which %d were under way: %w", MaxRefreshes, ctx.Err())
	}
}

// checkIAM reports an engine that has no IAM login. One that the metadata does
// not name is left to the server.
func checkIAM(databaseVersion string) error {
	if databaseVersion == "" || databaseVersion == "SQL_DATABASE_VERSION_UNSPECIFIED" || engine.Of(databaseVersion).HasIAM() {
		return nil
	}
	return &ConfigError{Problem: fmt.Sprintf("IAM login needs PostgreSQL or MySQL; the instance runs %s", databaseVersion)}
}

func (c *Client) settings(ctx context.Context, inst Instance) (*sqladmin.ConnectSettings, error) {
	return sensible(ctx, func() (*sqladmin.ConnectSettings, error) {
		s, err := do[sqladmin.ConnectSettings](ctx, c, "connectSettings", sqladmin.Get(c.root, inst.Project, inst.ID))
		if err == nil {
			err = cmp.Or(checkBackend(s), checkReady(s))
		}
		if err == nil {
			_, err = parseAnchors(s.ServerCaCert)
		}
		return s, err
	})
}

// ResolveDNS returns the connection name, project:region:instance, of the
// instance that has this DNS name of Cloud SQL's own, such as
// 42cf.2imj.us-west1.sql.goog.
func (c *Client) ResolveDNS(ctx context.Context, region, dnsName string) (string, error) {
	const name = "resolveConnectSettings"
	settings, err := do[sqladmin.ConnectSettings](ctx, c, name, sqladmin.Resolve(c.root, region, strings.TrimSuffix(dnsName, ".")+"."))
	if err != nil {
		return "", err
	}
	if settings.ConnectionName == "" {
		return "", &ReplyError{Field: name + ".connectionName", Problem: "is empty"}
	}
	return settings.ConnectionName, nil
}

// certificate asks for a client certificate. One for iam has a login token in
// it, and waits until the engine is known.
func (c *Client) certificate(ctx context.Context, inst Instance, iam bool, known <-chan struct{}) (*certificate, error) {
	key, err := c.cfg.Key()
	if err != nil {
		return nil, &ConfigError{Problem: "no client key", Err: err}
	}
	public, err := publicPEM(key)
	if err != nil {
		return nil, err
	}
	// A hedge makes a second certificate. Nobody gets to see the one that comes
	// late, and within the hour it expires: that is harmless.
	ask := func(login *oauth2.Token) (*certificate, error) {
		req := &sqladmin.GenerateEphemeralCertRequest{PublicKey: public}
		if login != nil {
			req.AccessToken = login.AccessToken
		}
		return sensible(ctx, func() (*certificate, error) {
			resp, err := do[sqladmin.GenerateEphemeralCertResponse](ctx, c, "generateEphemeralCert",
				sqladmin.GenerateEphemeralCert(c.root, inst.Project, inst.ID, req), req.AccessToken)
			if err != nil {
				return nil, err
			}
			return newCertificate(resp, key, login)
		})
	}
	if !iam {
		return ask(nil)
	}
	login, err := c.loginToken(ctx)
	if err != nil {
		return nil, err
	}
	<-known
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	cert, err := ask(login)
	if c.login.outdated(login, err) {
		if login, err = c.loginToken(ctx); err != nil {
			return nil, err
		}
		return ask(login)
	}
	return cert, err
}

// loginToken returns the token to be embedded in a certificate.
func (c *Client) loginToken(ctx context.Context) (*oauth2.Token, error) {
	return retry(ctx, c, c.login.token)
}

// publicPEM encodes the public half of key as the API wants it: PKIX, in PEM.
func publicPEM(key crypto.Signer) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return "", &ConfigError{Problem: "client key", Err: err}
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), nil
}
