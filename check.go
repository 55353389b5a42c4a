package cloudsqlconn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/auth"
	"github.com/cloudsqlconn/cloudsqlconn/internal/failure"
	"github.com/cloudsqlconn/cloudsqlconn/internal/hint"
	"github.com/cloudsqlconn/cloudsqlconn/internal/kind"
	"github.com/cloudsqlconn/cloudsqlconn/internal/refresh"
	"github.com/cloudsqlconn/cloudsqlconn/internal/refusal"
)

// Check tests every hop that a Dial with the same options takes, up to the first
// byte from the database, and reports on each of them. Nothing that is cached about
// the instance is used or changed: metadata and certificate are fetched afresh, and
// every address of the wanted types is tried. With [WithSQLData] it tests a stream,
// and addresses only if SQL Data does not serve the instance and SQLDataPrefer is
// set.
//
// Failures are in the Report; the hops after a failed one are tested as far as that
// makes sense. The error is for wrong options (ErrConfig), a closed Dialer and a ctx
// that has already ended. The dial timeout bounds all hops together.
//
// Check does not log in to the database, so a database that is full can pass. The
// database may log a connection that ended before a login; MySQL counts it as a
// connection error of the host, which it eventually blocks (max_connect_errors).
// Once MySQL has answered, handshakes with other addresses of the instance, or of
// the same node of a read pool, end before they reach MySQL.
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
	if failure.Over(ctx) {
		return nil, d.newError(OpResolve, "", context.Cause(ctx))
	}
	c := &check{d: d, dc: &dc, answered: map[int]bool{}, report: &Report{Time: time.Now(), Name: shownName(name), Version: version}}
	c.walk(ctx, name)
	return c.report, nil
}

// shownName is a name for a report: what cannot be one may hold a password.
func shownName(name string) string {
	if quoted := failure.Quote(name); quoted != `"`+name+`"` {
		return quoted
	}
	return name
}

// check is a Check in progress.
type check struct {
	d        *Dialer
	dc       *dialConfig
	report   *Report
	instance string       // its name, once it is known
	answered map[int]bool // whether MySQL has, by node of a read pool; 0 is the instance
}

func (c *check) walk(ctx context.Context, name string) {
	t, named := c.resolve(ctx, name)
	authorised := c.authorise(ctx)
	if c.dc.way != nil && !c.dc.way.check(ctx, c, t.name, named, authorised) {
		return
	}
	m := c.metadata(ctx, t.name, named, authorised)
	info := c.certificate(ctx, m)
	c.addresses(ctx, t, m, info)
}

// ops are the steps that an Error names for the hops.
var ops = map[Hop]string{
	HopName: OpResolve, HopDNS: OpResolve, HopCredentials: OpRefresh, HopToken: OpRefresh, HopMetadata: OpRefresh, HopClock: OpRefresh,
	HopStream: OpStream, HopLoginToken: OpRefresh, HopCertificate: OpRefresh, HopTCP: OpDial, HopTLS: OpHandshake, HopDatabase: OpHandshake,
}

// step takes a hop, and reports whether it led on.
func (c *check) step(ctx context.Context, hop Hop, target string, f func() (found string, err error)) bool {
	began := time.Now()
	found, err := f()
	s := Step{Hop: hop, Target: printable(target), Result: Passed, Duration: time.Since(began), Detail: printable(found)}
	if errors.Is(err, auth.ErrClosed) {
		err = ErrDialerClosed // ctx ends for the same reason, if only a moment later
	}
	if err != nil {
		op := ops[hop]
		_, ofStream := errors.AsType[kind.Told](err)
		if ofStream {
			op = OpStream
		}
		e := c.d.newError(op, c.instance, failure.Ended(ctx, err))
		if _, refused := errors.AsType[*refusedError](err); refused {
			e.Hint = refusedCertHint
		} else if h := cmp.Or(mysqlHint(err), hopHints[hop]); h != "" && !ofStream {
			e.Hint = h
		}
		s.Result, s.Err, s.Hint = Failed, e, e.Hint
	}
	c.report.Steps = append(c.report.Steps, s)
	return err == nil
}

func (c *check) skip(hop Hop, why string) {
	c.report.Steps = append(c.report.Steps, Step{Hop: hop, Result: Skipped, Detail: why})
}

// refusedCertHint is for a client certificate that was made for this connection.
const refusedCertHint = "The certificate was issued a moment ago, so it is not too old: compare the clocks of this machine and of the instance, and check again in a minute, in case the instance has just received another client CA."

// hopHints are for hops that a Dial does not take.
var hopHints = map[Hop]string{
	HopClock:    "Set this machine's clock, and have NTP keep it right: tokens and certificates are valid for a limited time.",
	HopDatabase: refusal.SilentHint,
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
	if !c.step(ctx, HopCredentials, "", func() (string, error) { return c.credentials(ctx) }) {
		c.skip(HopToken, "no credentials")
		return false
	}
	var failed error
	ok := c.step(ctx, HopToken, "", func() (string, error) {
		tok, err := c.d.admin.Token(ctx)
		switch {
		case err != nil:
			failed = err
			return "", err
		case tok == nil:
			return "the program's own HTTP client has it", nil
		}
		found := expires(tok.Expiry)
		if project := hint.ProjectID(cmp.Or(c.d.cfg.quotaProject, auth.QuotaProject(tok))); project != "" {
			found += ", quota project " + project
		}
		return found, nil
	})
	if offset, told := admin.ClockOffset(failed); told {
		c.clock(ctx, offset, hint.TheTokenServer)
	}
	return ok
}

// credentials says what the credentials are.
func (c *check) credentials(ctx context.Context) (string, error) {
	cfg := &c.d.cfg.credentials
	from := strings.Join(cfg.sources, ", ")
	if auth.LooksLikePath(cfg.file) {
		from += " " + filepath.Base(cfg.file)
	}
	if c.d.credentials == nil {
		return "the program's own: " + cmp.Or(from, "WithHTTPClient"), nil
	}
	who, err := c.d.credentials.Describe(ctx)
	if err != nil {
		return "", &admin.TokenError{Err: err}
	}
	found := who.Kind
	if hint.IsEmail(who.Email) {
		found += " " + who.Email
	}
	return found + ", from " + cmp.Or(from, "Application Default Credentials"), nil
}

// metadata takes the hops metadata and clock. It returns nil if there is none.
func (c *check) metadata(ctx context.Context, n Name, named, authorised bool) (m *admin.Metadata) {
	switch {
	case !named:
		c.skip(HopMetadata, "no instance to ask for")
		return nil
	case !authorised:
		c.skip(HopMetadata, "no token")
		return nil
	}
	host := ""
	if u, err := url.Parse(c.d.cfg.endpoint); err == nil {
		host = u.Host
	}
	var (
		offset time.Duration // of the clocks
		told   bool
	)
	c.step(ctx, HopMetadata, host, func() (string, error) {
		inst := admin.Instance{Project: n.project, Region: n.region, ID: n.instance}
		got, err := c.d.admin.Metadata(ctx, inst)
		if got != nil {
			offset, told = got.ClockOffset, got.ClockTold
		} else {
			offset, told = admin.ClockOffset(err)
		}
		if err != nil {
			return "", err
		}
		m = got
		return describe(m), nil
	})
	if told {
		c.clock(ctx, offset, hint.TheAPI)
	} else {
		c.skip(HopClock, "the Admin API has not told the time")
	}
	return m
}

// describe is what metadata tells, in short.
func describe(m *admin.Metadata) string {
	found := cmp.Or(m.DatabaseVersion, "unknown engine") + " in " + cmp.Or(m.Region, "unknown region")
	for _, a := range places(m.Info, admin.AddressTypes) {
		found += ", " + a.who + " " + a.host
	}
	return found
}

// clock takes the hop of that name. The offset is how far this machine's clock
// is ahead of the other.
func (c *check) clock(ctx context.Context, offset time.Duration, other string) {
	c.step(ctx, HopClock, "", func() (string, error) {
		if hint.Clock(offset, other) == "" {
			return "within a minute of " + other, nil
		}
		way := "ahead of"
		if offset < 0 {
			way = "behind"
		}
		return "", fmt.Errorf("this machine's clock is %s %s %s", hint.Span(offset.Abs()), way, other)
	})
}

// certificate takes the hops login token and certificate. It returns nil if
// there is none.
func (c *check) certificate(ctx context.Context, m *admin.Metadata) (info *admin.Info) {
	if c.dc.iam {
		if m == nil {
			c.skip(HopLoginToken, "no metadata")
		} else if !c.step(ctx, HopLoginToken, "", func() (string, error) {
			tok, err := c.d.admin.LoginToken(ctx)
			if err != nil {
				return "", err
			}
			return expires(tok.Expiry), nil
		}) {
			c.skip(HopCertificate, "no login token")
			return nil
		}
	}
	if m == nil {
		c.skip(HopCertificate, "no metadata")
		return nil
	}
	c.step(ctx, HopCertificate, "", func() (string, error) {
		got, expiry, err := c.d.admin.Certificate(ctx, m, c.dc.iam)
		if err != nil {
			return "", err
		}
		if time.Until(expiry) < time.Second { // a Dial would not use it
			return expires(expiry), refresh.ErrExpired
		}
		info = got
		if c.dc.iam {
			return "for IAM login, " + expires(expiry), nil
		}
		return expires(expiry), nil
	})
	return info
}

// expires tells when something ends.
func expires(at time.Time) string {
	if at.IsZero() {
		return "without expiry"
	}
	text, left := at.UTC().Format(time.RFC3339), time.Until(at)
	if left < 0 {
		return fmt.Sprintf("expired %s, %s ago", text, hint.Span(-left))
	}
	return fmt.Sprintf("expires %s, in %s", text, hint.Span(left))
}
