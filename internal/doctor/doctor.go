// Package doctor takes the hops of a Dial one by one, up to the first byte from the
// database, and says what it has found at each. It uses nothing that is remembered of
// the instance, and knows the Dialer, its options and its errors only by what it is
// given.
package doctor

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/auth"
	"github.com/cloudsqlconn/cloudsqlconn/internal/failure"
	"github.com/cloudsqlconn/cloudsqlconn/internal/hint"
	"github.com/cloudsqlconn/cloudsqlconn/internal/kind"
	"github.com/cloudsqlconn/cloudsqlconn/internal/reach"
	"github.com/cloudsqlconn/cloudsqlconn/internal/refusal"
)

// The hops. The root package describes them.
const (
	HopName        = "name"
	HopDNS         = "DNS"
	HopCredentials = "credentials"
	HopToken       = "token"
	HopStream      = "SQL Data"
	HopMetadata    = "metadata"
	HopClock       = "clock"
	HopLoginToken  = "login token"
	HopCertificate = "certificate"
	HopTCP         = "TCP"
	HopTLS         = "TLS"
	HopDatabase    = "database"
)

// How a hop can end.
const (
	Passed  = "ok"
	Failed  = "failed"
	Skipped = "skipped"
)

// Step is a hop that was taken, or skipped.
type Step struct {
	Hop, Target, Result string
	Duration            time.Duration
	Detail, Hint        string
	Err                 error // nil unless Result is Failed

	cause error // what was made into Err
}

// Target is what the name stands for.
type Target struct {
	admin.Instance
	Domain  string   // the DNS name that was asked for, or ""
	Hosts   []string // the addresses of the DNS name itself
	AnyName bool     // the server's certificate need not be for Domain
}

// Name is the instance's connection name.
func (t *Target) Name() string { return t.Project + ":" + t.Region + ":" + t.ID }

// Path is the way of a Dial.
type Path struct {
	Name    string // that is to be resolved, for people
	DNS     bool   // it is looked up
	Resolve func(ctx context.Context) (Target, error)

	From         []string          // what has set the credentials; empty: nothing has
	File         string            // that holds them, or ""
	Credentials  *auth.Credentials // nil: they are the program's own
	Admin        *admin.Client
	AdminHost    string
	QuotaProject string // "": that of the token
	IAM          bool   // the Dial logs in with IAM

	Stream *Stream // nil: by an address

	Types []string // of address
	Way   reach.Way
	Signs reach.Signs

	// Fail returns the error of a step, and its hint: the one that it is given, or
	// else the one that belongs to the error.
	Fail func(op, instance string, err error, hint string) (told string, failed error)
}

// Walk takes all hops, as far as that makes sense after one that has failed.
func (p *Path) Walk(ctx context.Context) []Step {
	w := &walk{Path: p, answered: map[int]bool{}}
	named := w.resolve(ctx)
	authorised := w.authorise(ctx)
	if p.Stream != nil && !w.stream(ctx, named, authorised) {
		return w.steps
	}
	m := w.metadata(ctx, named, authorised)
	info := w.certificate(ctx, m)
	w.addresses(ctx, m, info)
	return w.steps
}

// walk is a Walk in progress.
type walk struct {
	*Path
	steps    []Step
	target   Target
	instance string       // its name, once it is known
	answered map[int]bool // whether MySQL has, by node of a read pool; 0 is the instance
}

// ops are the steps of a Dial that the hops belong to.
var ops = map[string]string{
	HopName: failure.OpResolve, HopDNS: failure.OpResolve,
	HopCredentials: failure.OpRefresh, HopToken: failure.OpRefresh, HopMetadata: failure.OpRefresh, HopClock: failure.OpRefresh,
	HopLoginToken: failure.OpRefresh, HopCertificate: failure.OpRefresh,
	HopStream: failure.OpStream, HopTCP: failure.OpDial, HopTLS: failure.OpHandshake, HopDatabase: failure.OpHandshake,
}

// hopHints are for hops that a Dial does not take.
var hopHints = map[string]string{
	HopClock:    "Set this machine's clock, and have NTP keep it right: tokens and certificates are valid for a limited time.",
	HopDatabase: refusal.SilentHint,
}

// refusedCertHint is for a client certificate that was made for this connection.
const refusedCertHint = "The certificate was issued a moment ago, so it is not too old: compare the clocks of this machine and of the instance, and check again in a minute, in case the instance has just received another client CA."

// step takes a hop, and reports whether it led on.
func (w *walk) step(ctx context.Context, hop, target string, f func() (found string, err error)) bool {
	began := time.Now()
	found, err := f()
	s := Step{Hop: hop, Target: printable(target), Result: Passed, Duration: time.Since(began), Detail: printable(found)}
	if errors.Is(err, auth.ErrClosed) {
		err = failure.ErrDialerClosed // ctx ends for the same reason, if only a moment later
	}
	if err != nil {
		op, told := ops[hop], cmp.Or(mysqlHint(err), hopHints[hop])
		if _, ofStream := errors.AsType[kind.Told](err); ofStream {
			op, told = failure.OpStream, ""
		}
		if _, refused := errors.AsType[*reach.RefusedError](err); refused {
			told = refusedCertHint
		}
		s.Result, s.cause = Failed, failure.Ended(ctx, err)
		s.Hint, s.Err = w.Fail(op, w.instance, s.cause, told)
	}
	w.steps = append(w.steps, s)
	return err == nil
}

func (w *walk) skip(hop, why string) {
	w.steps = append(w.steps, Step{Hop: hop, Result: Skipped, Detail: why})
}

// clock takes the hop of that name. The offset is how far this machine's clock
// is ahead of the other.
func (w *walk) clock(ctx context.Context, offset time.Duration, other string) {
	w.step(ctx, HopClock, "", func() (string, error) { return hint.CompareClocks(offset, other) })
}
