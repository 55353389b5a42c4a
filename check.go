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
		From: d.cfg.caller.Sources, File: d.cfg.caller.File, Credentials: d.credentials,
		Admin: d.admin, QuotaProject: d.cfg.caller.QuotaProject, IAM: dc.iam,
		Types: dc.types, Way: dc.tcp, Signs: d.cfg.signs(),
		Fail: func(op, instance string, err error, hint string) (string, error) {
			e := d.newError(op, instance, err)
			e.Hint = cmp.Or(hint, e.Hint)
			return e.Hint, e
		},
	}
	if u, err := url.Parse(d.cfg.caller.Endpoint); err == nil {
		p.AdminHost = u.Host
	}
	if dc.carrier != nil {
		p.Stream = dc.carrier.path(d, dc)
	}
	_, p.DNS = d.resolver.(dnsResolver)
	p.DNS = p.DNS && !strings.Contains(name, ":")
	p.Resolve = func(ctx context.Context) (doctor.Target, error) {
		r := d.resolver
		if p.DNS { // the Dialer's own would fall back on what it remembers
			r = newDNSResolver(d.cfg.names.dns, d.admin, d.cfg.refreshTimeout)
			defer r.close()
		}
		to, err := r.resolve(ctx, name)
		return doctor.Target{Instance: to.Instance.admin(), Domain: to.Domain, Hosts: to.Hosts, AnyName: to.own || d.cfg.names.unlisted}, err
	}
	return p
}

// Report is what [Dialer.Check] found. It holds no secrets; of a path on this
// machine, it prints only the last element, behind "...".
type Report struct {
	Time    time.Time // when the check began
	Name    string    // what was checked, as far as it can be a name
	Version string    // of this library
	Steps   []Step    // in the order in which they were taken
}

// Step is one hop of a [Report].
type Step struct {
	Hop      Hop
	Target   string // the address, or the API's host; "" if there is none to name
	Result   Result
	Duration time.Duration
	Detail   string // what was found, or why the hop was skipped: one line
	Hint     string // what to do about a failure: a sentence, or ""
	Err      error  // an [*Error]; nil unless Result is Failed
}

// Hop is a step on the path to a database.
type Hop string

// The hops, in order. The last three appear once for each address. HopStream appears
// with [WithSQLData] only, followed by HopDatabase, without the hops in between.
const (
	HopName        Hop = doctor.HopName        // "name": reading it, or asking the program's own resolver
	HopDNS         Hop = doctor.HopDNS         // "DNS": looking it up
	HopCredentials Hop = doctor.HopCredentials // "credentials": finding them
	HopToken       Hop = doctor.HopToken       // "token": getting one for the Admin API
	HopStream      Hop = doctor.HopStream      // "SQL Data": opening a stream to the instance
	HopMetadata    Hop = doctor.HopMetadata    // "metadata": of the instance, from the Admin API
	HopClock       Hop = doctor.HopClock       // "clock": of this machine, against the Admin API's: to a minute
	HopLoginToken  Hop = doctor.HopLoginToken  // "login token": for IAM login; no step without
	HopCertificate Hop = doctor.HopCertificate // "certificate": of the client, from the Admin API
	HopTCP         Hop = doctor.HopTCP         // "TCP": connecting to the address
	HopTLS         Hop = doctor.HopTLS         // "TLS": verifying the server
	HopDatabase    Hop = doctor.HopDatabase    // "database": its first byte, which the server sends once it has accepted the client certificate; no login, so that a database which is full can pass
)

// Result is how a hop ended.
type Result string

// The results.
const (
	Passed  Result = doctor.Passed  // "ok"
	Failed  Result = doctor.Failed  // "failed"
	Skipped Result = doctor.Skipped // "skipped": not needed, or of no use after what had failed
)

// OK reports whether no hop has failed, including those to addresses that a Dial
// would not have needed.
func (r *Report) OK() bool { return r.Err() == nil }

// Err returns the errors of all failed hops as one; nil if there are none.
func (r *Report) Err() error {
	var errs failure.Lines
	for _, s := range r.Steps {
		if s.Result == Failed {
			errs = append(errs, s.Err)
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return errs
}

// String returns a table for people to read, and what they can do about the hops
// that have failed.
func (r *Report) String() string { return r.plain().String() }

// MarshalJSON adds whether the Report is OK.
func (r *Report) MarshalJSON() ([]byte, error) { return r.plain().MarshalJSON() }

// MarshalJSON gives the duration in seconds, and the error as text.
func (s Step) MarshalJSON() ([]byte, error) { return s.plain().MarshalJSON() }

// plain is the report as it is written.
func (r *Report) plain() *doctor.Report {
	plain := &doctor.Report{Time: r.Time, Name: r.Name, Version: r.Version, OK: r.OK()}
	for _, s := range r.Steps {
		plain.Steps = append(plain.Steps, s.plain())
	}
	return plain
}

// plain is the step as it is written: the hop and the instance are known, hence the
// cause of its error only.
func (s Step) plain() doctor.Step {
	plain := doctor.Step{Hop: string(s.Hop), Target: s.Target, Result: string(s.Result), Duration: s.Duration, Detail: s.Detail, Hint: s.Hint}
	if s.Err != nil {
		plain.Err = causeOf(s.Err)
	}
	return plain
}
