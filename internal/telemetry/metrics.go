package telemetry

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/metric"
)

// instruments are what is counted as it happens.
type instruments struct {
	dials     metric.Int64Counter
	durations metric.Float64Histogram
	refreshes metric.Int64Counter
	logins    metric.Int64Counter
	hedges    metric.Int64Counter
	lives     metric.Float64Histogram
}

// Reading is what is read of an instance when metrics are collected.
type Reading struct {
	Expiry        time.Time // of what the last refresh brought; zero: there is nothing, or it lasts for ever
	Open          int64     // connections
	Read, Written int64     // bytes
}

// meter makes the instruments, and registers what reads the others.
func (t *Telemetry) meter(provider metric.MeterProvider, cfg Config) error {
	m := provider.Meter(scope, metric.WithInstrumentationVersion(cfg.Version))
	var errs [9]error
	t.meters.dials, errs[0] = m.Int64Counter("cloudsqlconn.dial.count",
		metric.WithUnit("{dial}"), metric.WithDescription("Dials that have ended."))
	t.meters.durations, errs[1] = m.Float64Histogram("cloudsqlconn.dial.duration",
		metric.WithUnit("s"), metric.WithDescription("How long Dials took."),
		metric.WithExplicitBucketBoundaries(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30))
	t.meters.refreshes, errs[2] = m.Int64Counter("cloudsqlconn.refresh.count",
		metric.WithUnit("{refresh}"), metric.WithDescription("Refreshes of metadata and certificate that have ended."))
	t.meters.hedges, errs[6] = m.Int64Counter("cloudsqlconn.hedge.count",
		metric.WithUnit("{call}"), metric.WithDescription("Calls for metadata, certificates and tokens that were made a second time, since they had not been answered."))
	t.meters.logins, errs[8] = m.Int64Counter("cloudsqlconn.repeated_login.count",
		metric.WithUnit("{login}"), metric.WithDescription("IAM logins that the library has repeated, for managed connection pooling to learn a new login token."))
	t.meters.lives, errs[7] = m.Float64Histogram("cloudsqlconn.connection.duration",
		metric.WithUnit("s"), metric.WithDescription("How long connections were open that have been closed."),
		metric.WithExplicitBucketBoundaries(0.1, 1, 10, 60, 300, 600, 1800, 3600, 7200, 21600, 86400))
	expiry, err := m.Float64ObservableGauge("cloudsqlconn.refresh.expiry",
		metric.WithUnit("s"), metric.WithDescription("Time until the client certificate expires; negative when it has."))
	errs[3] = err
	open, err := m.Int64ObservableUpDownCounter("cloudsqlconn.connections.open",
		metric.WithUnit("{connection}"), metric.WithDescription("Connections that are open."))
	errs[4] = err
	io, err := m.Int64ObservableCounter("cloudsqlconn.io",
		metric.WithUnit("By"), metric.WithDescription("Bytes of the database protocol that connections have carried, without TLS."))
	errs[5] = err
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	t.registration, err = m.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		cfg.Read(func(i *Instance, r Reading) {
			if !r.Expiry.IsZero() {
				o.ObserveFloat64(expiry, time.Until(r.Expiry).Seconds(), i.named)
			}
			o.ObserveInt64(open, r.Open, i.named)
			o.ObserveInt64(io, r.Read, i.received)
			o.ObserveInt64(io, r.Written, i.sent)
		})
		return nil
	}, expiry, open, io)
	return err
}
