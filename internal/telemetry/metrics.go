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
	var errs []error
	counter := func(name, unit, description string) metric.Int64Counter {
		c, err := m.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(description))
		errs = append(errs, err)
		return c
	}
	seconds := func(name, description string, bounds ...float64) metric.Float64Histogram {
		h, err := m.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(description), metric.WithExplicitBucketBoundaries(bounds...))
		errs = append(errs, err)
		return h
	}
	t.meters = instruments{
		dials: counter("cloudsqlconn.dial.count", "{dial}", "Dials that have ended."),
		durations: seconds("cloudsqlconn.dial.duration", "How long Dials took.",
			0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30),
		refreshes: counter("cloudsqlconn.refresh.count", "{refresh}", "Refreshes of metadata and certificate that have ended."),
		hedges:    counter("cloudsqlconn.hedge.count", "{call}", "Calls for metadata, certificates and tokens that were made a second time, since they had not been answered."),
		logins:    counter("cloudsqlconn.repeated_login.count", "{login}", "IAM logins that the library has repeated, for managed connection pooling to learn a new login token."),
		lives: seconds("cloudsqlconn.connection.duration", "How long connections were open that have been closed.",
			0.1, 1, 10, 60, 300, 600, 1800, 3600, 7200, 21600, 86400),
	}
	expiry, err := m.Float64ObservableGauge("cloudsqlconn.refresh.expiry",
		metric.WithUnit("s"), metric.WithDescription("Time until the client certificate expires; negative when it has."))
	errs = append(errs, err)
	open, err := m.Int64ObservableUpDownCounter("cloudsqlconn.connections.open",
		metric.WithUnit("{connection}"), metric.WithDescription("Connections that are open."))
	errs = append(errs, err)
	io, err := m.Int64ObservableCounter("cloudsqlconn.io",
		metric.WithUnit("By"), metric.WithDescription("Bytes of the database protocol that connections have carried, without TLS."))
	errs = append(errs, err)
	if err := errors.Join(errs...); err != nil {
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
