package admin

import (
	"context"
	"crypto/tls"
	"time"

	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn/internal/auth"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqladmin"
)

// Here is what Fetch does at once, in parts: for a Check, and for SQL Data, which needs tokens alone.

// Metadata is an instance's metadata without a certificate.
type Metadata struct {
	*Info

	// Region is where the API says that the instance is. It can be empty.
	Region string

	// ClockTold says whether ClockOffset is known.
	ClockTold bool

	inst     Instance
	settings *sqladmin.ConnectSettings
}

// Token returns the token that authorises calls now, or nil if the HTTP client
// does that by itself. Transient failures are retried.
func (c *Client) Token(ctx context.Context) (*oauth2.Token, error) {
	if c.api == nil {
		return nil, nil
	}
	return retry(ctx, c, c.api.token)
}

// Replace is told that a token of Token was refused, and reports whether the next
// one may be better.
func (c *Client) Replace(refused string) bool { return c.api.replace(refused) }

// LoginToken returns the token that a certificate for IAM login would get now.
func (c *Client) LoginToken(ctx context.Context) (*oauth2.Token, error) {
	if c.login == nil {
		return nil, errNoLogin
	}
	return c.loginToken(ctx)
}

// Metadata asks for an instance's metadata and checks it, as Fetch does. The
// Info in it is for looking at, not for connections. If there was a reply but
// it is of no use, there is an error and a Metadata that tells of clocks only.
func (c *Client) Metadata(ctx context.Context, inst Instance) (*Metadata, error) {
	release, err := c.slot(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	asked := time.Now()
	settings, err := c.settings(ctx, inst)
	if err != nil {
		return nil, err
	}
	offset, told := auth.ClockOffset(settings.Header, time.Now())
	info, err := newInfo(inst, settings, tls.Certificate{})
	if err != nil {
		info = new(Info)
	}
	info.Asked, info.ClockOffset = asked, offset
	return &Metadata{Info: info, Region: settings.Region, ClockTold: told, inst: inst, settings: settings}, err
}

// Certificate asks for a certificate and returns it with the metadata, and
// when the two expire, as Fetch does.
func (c *Client) Certificate(ctx context.Context, m *Metadata, iam bool) (*Info, time.Time, error) {
	fail := func(err error) (*Info, time.Time, error) { return nil, time.Time{}, err }
	if iam {
		if c.login == nil {
			return fail(errNoLogin)
		}
		if err := checkIAM(m.DatabaseVersion); err != nil {
			return fail(err)
		}
	}
	release, err := c.slot(ctx)
	if err != nil {
		return fail(err)
	}
	defer release()
	known := make(chan struct{})
	close(known)
	cert, err := c.certificate(ctx, m.inst, iam, known)
	if err != nil {
		return fail(err)
	}
	return c.join(m.inst, m.Asked, m.settings, cert)
}

// ClockOffset is how far this machine's clock is ahead of that of the server
// whose refusal err is. It reports false if there was none, or it did not tell.
func ClockOffset(err error) (offset time.Duration, told bool) {
	_, header := refusal(err)
	return auth.ClockOffset(header, time.Now())
}
