package cloudsqlconn

import (
	"cmp"
	"context"
	"net/url"
	"strings"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/doctor"
	"github.com/cloudsqlconn/cloudsqlconn/internal/failure"
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
	r := &Report{Time: time.Now(), Name: shownName(name), Version: version}
	for _, s := range d.path(name, r.Name, &dc).Walk(ctx) {
		r.Steps = append(r.Steps, Step{
			Hop: Hop(s.Hop), Target: s.Target, Result: Result(s.Result), Duration: s.Duration, Detail: s.Detail, Hint: s.Hint, Err: s.Err,
		})
	}
	return r, nil
}

// shownName is a name for a report: what cannot be one may hold a password.
func shownName(name string) string {
	if quoted := failure.Quote(name); quoted != `"`+name+`"` {
		return quoted
	}
	return name
}

// path is the way of a Dial with dc, for a look at each hop.
func (d *Dialer) path(name, shown string, dc *dialConfig) *doctor.Path {
	p := &doctor.Path{
		Name: shown,
		From: d.cfg.sources, File: d.cfg.file, Credentials: d.credentials,
		Admin: d.admin, QuotaProject: d.cfg.quotaProject, IAM: dc.iam,
		Types: dc.types, Way: dc.tcp, Signs: d.cfg.signs(),
		Fail: func(op, instance string, err error, hint string) (error, string) {
			e := d.newError(op, instance, err)
			e.Hint = cmp.Or(hint, e.Hint)
			return e, e.Hint
		},
	}
	if u, err := url.Parse(d.cfg.endpoint); err == nil {
		p.AdminHost = u.Host
	}
	if dc.way != nil {
		p.Stream = dc.way.path(d, dc)
	}
	_, p.DNS = d.resolver.(dnsResolver)
	p.DNS = p.DNS && !strings.Contains(name, ":")
	p.Resolve = func(ctx context.Context) (doctor.Target, error) {
		r := d.resolver
		if p.DNS { // the Dialer's own would fall back on what it remembers
			r = newDNSResolver(d.cfg.names.dns, d.admin, d.cfg.refreshTimeout)
			defer r.close()
		}
		t, err := r.resolve(ctx, name)
		return doctor.Target{Instance: t.name.admin(), Domain: t.name.domain, Hosts: t.hosts, AnyName: t.own || d.cfg.names.unlisted}, err
	}
	return p
}
