// Package observe tells the log, and OpenTelemetry, what happens to one instance. It
// is the one place that words the records of the log, and decides nothing: it
// knows what has happened, and not why.
package observe

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/refresh"
	"github.com/cloudsqlconn/cloudsqlconn/internal/telemetry"
)

// Instance tells the log and OpenTelemetry what happens to one instance.
type Instance struct {
	*telemetry.Instance
	log   *slog.Logger        // without the instance's name
	named func() *slog.Logger // with it
}

// New returns what tells of the instance of that name. log is not used before there
// is something to tell.
func New(t *telemetry.Instance, log *slog.Logger, name string, iam bool) Instance {
	return Instance{
		Instance: t,
		log:      log,
		// Later: New is called with a lock held, and the handler is the program's.
		named: sync.OnceValue(func() *slog.Logger { return log.With("instance", name, "iam_authn", iam) }),
	}
}

// logs reports whether records of this level are wanted. What goes into them is
// made only then.
func (o *Instance) logs(ctx context.Context, level slog.Level) bool { return o.log.Enabled(ctx, level) }

// Dialed is told of a Dial that has connected.
func (o *Instance) Dialed(ctx context.Context, c net.Conn, took time.Duration) {
	if o.logs(ctx, slog.LevelDebug) {
		o.named().LogAttrs(ctx, slog.LevelDebug, "connected", slog.String("address", c.RemoteAddr().String()), slog.Duration("took", took))
	}
}

// FellBack is told that the instance was reached by an address, since SQL Data
// does not serve it.
func (o *Instance) FellBack(ctx context.Context, refusal error, until time.Time) {
	if o.logs(ctx, slog.LevelInfo) {
		o.named().LogAttrs(ctx, slog.LevelInfo, "SQL Data does not serve the instance, an address is used",
			slog.String("refusal", refusal.Error()), slog.Time("until", until))
	}
}

// CoolingDown is told that SQL Data is exhausted.
func (o *Instance) CoolingDown(ctx context.Context, refusal error, until time.Time) {
	if o.logs(ctx, slog.LevelWarn) {
		o.named().LogAttrs(ctx, slog.LevelWarn, "SQL Data refuses, and is left alone for a while",
			slog.String("refusal", refusal.Error()), slog.Time("until", until))
	}
}

// StreamAgain is told of a stream that could not be opened, and that another try
// follows.
func (o *Instance) StreamAgain(ctx context.Context, err error) {
	if o.logs(ctx, slog.LevelWarn) {
		o.named().LogAttrs(ctx, slog.LevelWarn, "opening a stream failed, trying again", slog.String("error", err.Error()))
	}
}

// Overtaken is told of addresses that have not answered, so that another one was
// used.
func (o *Instance) Overtaken(ctx context.Context, silent []string, by string) {
	if len(silent) > 0 && o.logs(ctx, slog.LevelInfo) {
		o.named().LogAttrs(ctx, slog.LevelInfo, "an address does not answer and is tried last for ten minutes, another one is used",
			slog.Any("silent", silent), slog.String("address", by))
	}
}

// Again is told of a failed try that another one follows.
func (o *Instance) Again(ctx context.Context, err error) {
	if o.logs(ctx, slog.LevelWarn) {
		o.named().LogAttrs(ctx, slog.LevelWarn, "connecting failed, trying again with newer metadata", slog.String("error", err.Error()))
	}
}

// Refreshing is told that a refresh begins.
func (o *Instance) Refreshing(ctx context.Context) {
	if o.logs(ctx, slog.LevelDebug) {
		o.named().LogAttrs(ctx, slog.LevelDebug, "refresh begins")
	}
}

// Landed is told how a refresh has ended.
func (o *Instance) Landed(l refresh.Landing[admin.Info]) {
	ctx := context.Background() // a refresh is nobody's
	o.Refreshed(l.Err)
	switch {
	case l.Err == nil:
		o.SetEngine(l.Value.DatabaseVersion)
		o.logRefreshed(ctx, l)
	case l.Left > 0 && o.logs(ctx, slog.LevelWarn): // otherwise somebody waits, and is told the error
		o.named().LogAttrs(ctx, slog.LevelWarn, "refresh failed, the old certificate serves on",
			slog.String("error", l.Err.Error()), slog.Int("attempts", l.Attempts), slog.Duration("left", l.Left))
	}
}

// LoggedInAgain is told how a login has ended that was repeated.
func (o *Instance) LoggedInAgain(ctx context.Context, as string, err error) {
	o.LoginRepeated(err)
	if !o.logs(ctx, slog.LevelDebug) {
		return
	}
	if err != nil {
		o.named().LogAttrs(ctx, slog.LevelDebug, "repeating a login failed", slog.String("login", as), slog.String("error", err.Error()))
		return
	}
	o.named().LogAttrs(ctx, slog.LevelDebug, "login repeated with a new token", slog.String("login", as))
}

func (o *Instance) logRefreshed(ctx context.Context, l refresh.Landing[admin.Info]) {
	level, what := slog.LevelInfo, "refreshed"
	switch {
	case l.Old != nil && !l.Old.SameAddrs(l.Value):
		what = "the instance's addresses have changed"
	case l.Old != nil && !l.Old.SameMetadata(l.Value):
		what = "the server CA has changed"
	case l.Attempts > 0:
		what = "refreshed again after failures"
	default:
		level = slog.LevelDebug
	}
	if !o.logs(ctx, level) {
		return
	}
	attrs := []slog.Attr{slog.Any("addresses", l.Value.Addrs), slog.Time("expiry", l.Expiry)}
	if l.Attempts > 0 {
		attrs = append(attrs, slog.Int("attempts", l.Attempts))
	}
	o.named().LogAttrs(ctx, level, what, attrs...)
}

// Rejected is told that the server does not take the client certificate.
func (o *Instance) Rejected() {
	ctx := context.Background() // Read has none
	if o.logs(ctx, slog.LevelWarn) {
		o.named().LogAttrs(ctx, slog.LevelWarn, "the server refuses the client certificate, a new one is fetched")
	}
}

// Accepted is told that the server takes the client certificate again.
func (o *Instance) Accepted() {
	ctx := context.Background()
	if o.logs(ctx, slog.LevelInfo) {
		o.named().LogAttrs(ctx, slog.LevelInfo, "the server accepts the client certificate again")
	}
}
