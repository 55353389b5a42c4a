package doctor

import (
	"cmp"
	"context"
	"errors"
	"time"

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

// ops are the steps that the errors of hops name.
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
