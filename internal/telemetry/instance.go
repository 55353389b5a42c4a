package telemetry

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

// Instance is what is told of one instance.
type Instance struct {
	t         *Telemetry
	name      []attribute.KeyValue
	succeeded metric.MeasurementOption            // outcome of what went well
	reached   map[string]metric.MeasurementOption // the same, by type of address
	named     metric.MeasurementOption            // no outcome
	received  metric.MeasurementOption
	sent      metric.MeasurementOption

	system atomic.Pointer[attribute.KeyValue] // the engine; nil: unknown
}

// Instance returns an instance by its connection name. iam says whether it is
// dialled with IAM login: that takes another certificate.
func (t *Telemetry) Instance(connectionName string, iam bool) *Instance {
	name := []attribute.KeyValue{keyInstance.String(connectionName), keyIAMAuthN.Bool(iam)}
	with := func(more ...attribute.KeyValue) metric.MeasurementOption {
		return metric.WithAttributeSet(attribute.NewSet(slices.Concat(name, more)...))
	}
	reached := map[string]metric.MeasurementOption{}
	for _, kind := range t.addressTypes {
		reached[kind] = with(keyOutcome.String("success"), keyAddress.String(kind))
	}
	return &Instance{
		reached:   reached,
		t:         t,
		name:      slices.Clip(name),
		succeeded: with(keyOutcome.String("success")),
		named:     with(),
		received:  with(keyDirection.String("receive")),
		sent:      with(keyDirection.String("transmit")),
	}
}

// reachedBy are the attributes of a Dial that went well, nil if those of any other
// will do. i can be nil.
func (i *Instance) reachedBy(via Via) metric.MeasurementOption {
	if i == nil {
		return nil
	}
	return i.reached[via.Address]
}

// Closed counts a connection that was open for so long.
func (i *Instance) Closed(after time.Duration) {
	if ctx := context.Background(); i.t.meters.lives.Enabled(ctx) {
		i.t.meters.lives.Record(ctx, after.Seconds(), i.named)
	}
}

// SetEngine tells the instance's database version, as the Admin API spells it.
func (i *Instance) SetEngine(databaseVersion string) {
	for prefix, name := range map[string]string{
		"POSTGRES":  "postgresql",
		"MYSQL":     "mysql",
		"SQLSERVER": "microsoft.sql_server",
	} {
		if strings.HasPrefix(databaseVersion, prefix) {
			system := keySystem.String(name)
			i.system.Store(&system)
		}
	}
}

// described are the attributes of a span about the instance.
func (i *Instance) described() []attribute.KeyValue {
	if system := i.system.Load(); system != nil {
		return append(i.name, *system)
	}
	return i.name
}

// Wait begins the span of a caller that waits for metadata and certificate.
func (i *Instance) Wait(ctx context.Context) Span {
	_, span := i.t.start(ctx, "refresh")
	span.set(i.name...)
	return span
}

// Connect begins the span of a TCP connection to the instance.
func (i *Instance) Connect(ctx context.Context, host string, port int) (context.Context, Span) {
	return i.to(ctx, "connect", host, port)
}

// Handshake begins the span of a TLS handshake with the instance.
func (i *Instance) Handshake(ctx context.Context, host string, port int) (context.Context, Span) {
	return i.to(ctx, "handshake", host, port)
}

// Stream begins the span of a stream that the service at host and port carries.
func (i *Instance) Stream(ctx context.Context, host string, port int) (context.Context, Span) {
	return i.to(ctx, "stream", host, port)
}

func (i *Instance) to(ctx context.Context, what, host string, port int) (context.Context, Span) {
	if !i.t.traces(ctx) {
		return ctx, Span{}
	}
	return i.t.start(ctx, what, trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(i.described()...), trace.WithAttributes(keyServer.String(host), keyPort.Int(port)))
}

// Refreshed counts a refresh that has ended.
func (i *Instance) Refreshed(err error) {
	if ctx := context.Background(); i.t.meters.refreshes.Enabled(ctx) {
		i.t.meters.refreshes.Add(ctx, 1, i.t.outcome(i, err))
	}
}

// LoginRepeated counts an IAM login that was repeated.
func (i *Instance) LoginRepeated(err error) {
	if ctx := context.Background(); i.t.meters.logins.Enabled(ctx) {
		i.t.meters.logins.Add(ctx, 1, i.t.outcome(i, err))
	}
}
