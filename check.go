package cloudsqlconn

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/auth"
	"github.com/cloudsqlconn/cloudsqlconn/internal/refresh"
)

// Check walks all the way that a Dial with the same options takes, to the
// first byte of the database, and reports on each hop. Nothing that is
// remembered of the instance is used or changed: metadata and certificate are
// asked for anew, and every address of the wanted types is tried.
//
// What fails is in the Report; the hops behind it are taken as far as they make
// sense. The error is for options that are wrong (ErrConfig), a Dialer that is
// closed and a ctx that has ended already. The dial timeout bounds all hops
// together.
//
// The database gets no login. It may note a connection that ended before one.
func (d *Dialer) Check(ctx context.Context, name string, opts ...DialOption) (*Report, error) {
	dc, err := d.cfg.dial.with(opts)
	if err != nil {
		return nil, err
	}
	if d.ctx.Err() != nil {
		return nil, d.reason(name, ErrDialerClosed)
	}
	ctx, cancel := d.bound(ctx, dc.timeout)
	defer cancel()
	if over(ctx) {
		return nil, newError(opResolve, "", context.Cause(ctx))
	}
	c := &check{d: d, dc: &dc, report: &Report{Time: time.Now(), Name: shownName(name), Version: version}}
	c.walk(ctx, name)
	return c.report, nil
}

// shownName is a name for a report: what cannot be one may hold a password.
func shownName(name string) string {
	if quoted := quote(name); quoted != `"`+name+`"` {
		return quoted
	}
	return name
}

// check is a Check in progress.
type check struct {
	d        *Dialer
	dc       *dialConfig
	report   *Report
	instance string // its name, once it is known
}

func (c *check) walk(ctx context.Context, name string) {
	t, named := c.resolve(ctx, name)
	authorised := c.authorise(ctx)
	m := c.metadata(ctx, t.name, named, authorised)
	info := c.certificate(ctx, m)
	c.addresses(ctx, t, m, info)
}

// ops are the steps that an Error names for the hops.
var ops = map[Hop]string{
	HopName: opResolve, HopDNS: opResolve, HopCredentials: opRefresh, HopToken: opRefresh, HopMetadata: opRefresh, HopClock: opRefresh,
	HopLoginToken: opRefresh, HopCertificate: opRefresh, HopTCP: opDial, HopTLS: opHandshake, HopDatabase: opHandshake,
}

// step takes a hop, and reports whether it led on.
func (c *check) step(ctx context.Context, hop Hop, target string, f func() (found string, err error)) bool {
	began := time.Now()
	found, err := f()
	s := Step{Hop: hop, Target: printable(target), Result: Passed, Duration: time.Since(began), Detail: printable(found)}
	if err != nil {
		e := newError(ops[hop], c.instance, ended(ctx, err))
		e.Hint = cmp.Or(e.Hint, moreHints[hop])
		s.Result, s.Err, s.Hint = Failed, e, e.Hint
	}
	c.report.Steps = append(c.report.Steps, s)
	return err == nil
}

func (c *check) skip(hop Hop, why string) {
	c.report.Steps = append(c.report.Steps, Step{Hop: hop, Result: Skipped, Detail: why})
}

// moreHints are for failures of a hop that a Dial has no hint for.
var moreHints = map[Hop]string{
	HopClock:    "Set this machine's clock, and let NTP keep it right: tokens and certificates are good for a time only.",
	HopTLS:      "Something accepts connections there and does not answer as an instance does: look for a proxy or a firewall on the way, and whether the instance is restarting.",
	HopDatabase: "The way is good, but the database does not answer: look whether the instance is starting, out of memory or at its limit of connections, and into its log.",
}

// resolve takes the hops name and DNS.
func (c *check) resolve(ctx context.Context, name string) (t target, ok bool) {
	var err error
	find := func(r resolver) func() (string, error) {
		return func() (string, error) {
			if t, err = r.resolve(ctx, name); err != nil {
				return "", err
			}
			c.instance = t.name.String()
			if len(t.hosts) > 0 {
				return fmt.Sprintf("%s at %s", c.instance, strings.Join(t.hosts, ", ")), nil
			}
			return c.instance, nil
		}
	}
	if _, dns := c.d.resolver.(dnsResolver); !dns || strings.Contains(name, ":") {
		ok = c.step(ctx, HopName, "", find(c.d.resolver))
		c.skip(HopDNS, "the name needs none")
		return t, ok
	}
	c.step(ctx, HopName, "", func() (string, error) { return "a DNS name", nil })
	// The Dialer's own resolver would fall back on what it remembers.
	fresh := newDNSResolver(c.d.cfg.names.dns, c.d.admin, c.d.cfg.refreshTimeout)
	defer fresh.close()
	return t, c.step(ctx, HopDNS, c.report.Name, find(fresh))
}

// authorise takes the hops credentials and token, and reports whether there is
// something to call the Admin API with.
func (c *check) authorise(ctx context.Context) bool {
	if !c.step(ctx, HopCredentials, "", func() (string, error) { return c.describeCredentials(ctx) }) {
		c.skip(HopToken, "no credentials")
		return false
	}
	var tok tokenText
	ok := c.step(ctx, HopToken, "", func() (string, error) {
		t, err := c.d.admin.Token(ctx)
		if err != nil || t == nil {
			return string(tok), err
		}
		tok = expires(t.Expiry)
		if project := cmp.Or(c.d.cfg.quotaProject, auth.QuotaProject(t)); project != "" {
			tok += tokenText(", quota project " + project)
		}
		return string(tok), nil
	})
	return ok
}
