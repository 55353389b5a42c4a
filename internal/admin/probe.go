package admin

import (
	"context"
	"crypto/tls"
	"net/http"
	"time"

	"golang.org/x/oauth2"
	"google.golang.org/api/sqladmin/v1beta4"
)

// MaxRefreshes is how many calls for instances of one Client are under way at
// once; others wait.
const MaxRefreshes = maxRefreshes

// Metadata is an instance's metadata without a certificate.
type Metadata struct {
	*Info

	// Region is where the API says that the instance is. It can be empty.
	Region string

	// Date is when the API made its reply, by its own clock, to a second. Zero
	// if it did not say.
	Date time.Time

	inst     Instance
	settings *sqladmin.ConnectSettings
}

// Token returns the token that authorises calls now, or nil if the HTTP client
// does that by itself. Transient failures are retried.
func (c *Client) Token(ctx context.Context) (*oauth2.Token, error) {
	if c.api == nil {
		return nil, nil
	}
	return retry(ctx, c.api.token)
}

// LoginToken returns the token that a certificate for IAM login would get now.
func (c *Client) LoginToken(ctx context.Context) (*oauth2.Token, error) {
	if c.login == nil {
		return nil, errNoLogin
	}
	return c.loginToken(ctx)
}

// Metadata asks for an instance's metadata and checks it, as Fetch does. The
// Info in it is for looking at, not for connections.
func (c *Client) Metadata(ctx context.Context, inst Instance) (*Metadata, error) {
	release, err := c.slot(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	settings, err := c.settings(ctx, inst)
	if err != nil {
		return nil, err
	}
	info, err := newInfo(inst, settings, tls.Certificate{})
	if err != nil {
		return nil, err
	}
	return &Metadata{Info: info, Region: settings.Region, Date: date(settings.Header), inst: inst, settings: settings}, nil
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
	info, err := newInfo(m.inst, m.settings, cert.tls)
	return info, cert.expiry, err
}

// Date is when the server that err is about gave its answer, by its own clock,
// to a second. Zero if it did not answer, or did not say.
func Date(err error) time.Time {
	_, header := refusal(err)
	return date(header)
}

func date(h http.Header) time.Time {
	t, _ := http.ParseTime(h.Get("Date")) // zero if it fails
	return t
}
