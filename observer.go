package cloudsqlconn

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/refresh"
	"github.com/cloudsqlconn/cloudsqlconn/internal/telemetry"
)

// observer tells the log and OpenTelemetry what happens to one instance.
type observer struct {
	*telemetry.Instance
	log   *slog.Logger        // without the instance's name
	named func() *slog.Logger // with it
}

func (d *Dialer) newObserver(k key) observer {
	log := d.cfg.observe.log
	return observer{
		Instance: d.telemetry.Instance(k.name.String(), k.iam),
		log:      log,
		// Later: this one is called with a lock held, and the handler is the
		// caller's.
		named: sync.OnceValue(func() *slog.Logger {
			return log.With("instance", k.name.String(), "iam_authn", k.iam)
		}),
	}
}

// logs reports whether records of this level are wanted. What goes into them is
// made only then.
func (o *observer) logs(ctx context.Context, level slog.Level) bool { return o.log.Enabled(ctx, level) }

func (o *observer) dialed(ctx context.Context, c net.Conn, took time.Duration) {
	if o.logs(ctx, slog.LevelDebug) {
		o.named().LogAttrs(ctx, slog.LevelDebug, "connected", slog.String("address", c.RemoteAddr().String()), slog.Duration("took", took))
	}
}

// fellBack is told that the instance was reached by an address, since SQL Data
// does not serve it.
func (o *observer) fellBack(ctx context.Context, refusal error, until time.Time) {
	if o.logs(ctx, slog.LevelInfo) {
		o.named().LogAttrs(ctx, slog.LevelInfo, "SQL Data does not serve the instance, an address is used",
			slog.String("refusal", causeOf(refusal).Error()), slog.Time("until", until))
	}
}

// coolingDown is told that SQL Data is exhausted.
func (o *observer) coolingDown(ctx context.Context, refusal error, until time.Time) {
	if o.logs(ctx, slog.LevelWarn) {
		o.named().LogAttrs(ctx, slog.LevelWarn, "SQL Data refuses, and is left alone for a while",
			slog.String("refusal", refusal.Error()), slog.Time("until", until))
	}
}

// streamAgain is told of a stream that could not be opened, and that another try
// follows.
func (o *observer) streamAgain(ctx context.Context, err *Error) {
	if o.logs(ctx, slog.LevelWarn) {
		o.named().LogAttrs(ctx, slog.LevelWarn, "opening a stream failed, trying again", slog.String("error", err.Error()))
	}
}

// overtaken is told of addresses that have not answered, so that another one was
// used.
func (o *observer) overtaken(ctx context.Context, silent []string, by string) {
	if len(silent) > 0 && o.logs(ctx, slog.LevelInfo) {
		o.named().LogAttrs(ctx, slog.LevelInfo, "an address does not answer and is tried last for ten minutes, another one is used",
			slog.Any("silent", silent), slog.String("address", by))
	}
}

// again is told of a failed try that another one follows.
func (o *observer) again(ctx context.Context, err *Error) {
	if o.logs(ctx, slog.LevelWarn) {
		o.named().LogAttrs(ctx, slog.LevelWarn, "connecting failed, trying again with newer metadata", slog.String("error", err.Error()))
	}
}

func (o *observer) refreshing(ctx context.Context) {
	if o.logs(ctx, slog.LevelDebug) {
		o.named().LogAttrs(ctx, slog.LevelDebug, "refresh begins")
	}
}

// refreshed is told how a refresh has ended.
func (o *observer) refreshed(l refresh.Landing[admin.Info]) {
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

// loginRepeated is told how a login has ended that was repeated.
func (o *observer) loginRepeated(ctx context.Context, as string, err error) {
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

func (o *observer) logRefreshed(ctx context.Context, l refresh.Landing[admin.Info]) {
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

// refused is told that the server does not take the client certificate.
func (o *observer) refused() {
	ctx := context.Background() // Read has none
	if o.logs(ctx, slog.LevelWarn) {
		o.named().LogAttrs(ctx, slog.LevelWarn, "the server refuses the client certificate, a new one is fetched")
	}
}

// accepted is told that the server takes the client certificate again.
func (o *observer) accepted() {
	ctx := context.Background()
	if o.logs(ctx, slog.LevelInfo) {
		o.named().LogAttrs(ctx, slog.LevelInfo, "the server accepts the client certificate again")
	}
}

// serverPortNumber is serverPort, as OpenTelemetry wants it.
var serverPortNumber, _ = strconv.Atoi(serverPort)

// read tells the gauges of every instance.
func (d *Dialer) read(report func(*telemetry.Instance, telemetry.Reading)) {
	d.mu.Lock()
	connectors := slices.Collect(maps.Values(d.connectors))
	d.mu.Unlock()
	for _, c := range connectors {
		report(c.seen.Instance, telemetry.Reading{
			Expiry:  c.cache.Status().Expiry,
			Open:    c.open.Load(),
			Read:    c.read.Load(),
			Written: c.written.Load(),
		})
	}
}
