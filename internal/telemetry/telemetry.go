// Package telemetry tells OpenTelemetry what a Dialer does: spans of its Dials,
// and metrics. It is the one place that knows their names.
//
// Attributes are those of OpenTelemetry's semantic conventions where there is
// one that fits. There is none for a Cloud SQL instance (the conventions of
// version 1.43 name several things of Google Cloud, and not this one), and
// foreign names do not belong into the conventions' namespaces, so an instance
// is cloudsqlconn.instance: its connection name, of which a process has few.
// What callers pass as a name is no attribute: it can be anything.
//
// The options WithMeterProvider and WithTracerProvider (options_observe.go) list
// metrics and attributes for users.
package telemetry

import (
	"context"
	"slices"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	nometrics "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
	nospans "go.opentelemetry.io/otel/trace/noop"
)

const scope = "github.com/cloudsqlconn/cloudsqlconn"

const (
	keyInstance  = attribute.Key("cloudsqlconn.instance")
	keyIAMAuthN  = attribute.Key("cloudsqlconn.iam_authn")
	keyOutcome   = attribute.Key("outcome")
	keyDirection = attribute.Key("network.io.direction")
	keyErrorType = attribute.Key("error.type")
	keySystem    = attribute.Key("db.system.name")
	keyServer    = attribute.Key("server.address")
	keyPort      = attribute.Key("server.port")
	keyPeer      = attribute.Key("network.peer.address")
	keyCall      = attribute.Key("cloudsqlconn.call")
	keyPeerPort  = attribute.Key("network.peer.port")
	keyStatus    = attribute.Key("rpc.response.status_code")
	keyWay       = attribute.Key("cloudsqlconn.way")
	keyAddress   = attribute.Key("cloudsqlconn.address_type")
)

// bySQLData marks a Dial that has used SQL Data. Others have no such attribute.
var bySQLData = keyWay.String("sql_data")

// Via is how a Dial has reached an instance.
type Via struct {
	Stream  bool   // by SQL Data
	Address string // otherwise one of Config.AddressTypes, or ByDNSName; "": it has not, or that is not known
}

// ByDNSName is the type of an address that only the DNS name has that was dialled.
const ByDNSName = "DNS_NAME"

// Config says where a [Telemetry] tells what it is told. Version, ErrorType and
// Read are required.
type Config struct {
	// Tracers and Meters take spans and metrics. Nil: the global provider.
	Tracers trace.TracerProvider
	Meters  metric.MeterProvider

	// Version is the library's.
	Version string

	// AddressTypes are those that an instance can have.
	AddressTypes []string

	// ErrorType names the kind of an error, one of few.
	ErrorType func(error) string

	// Read is called whenever metrics are collected, and passes each instance
	// to report.
	Read func(report func(*Instance, Reading))
}

// Telemetry is what one Dialer tells. Its methods are safe for concurrent use.
type Telemetry struct {
	tracer       trace.Tracer // nil: no spans
	errorType    func(error) string
	addressTypes []string // ByDNSName is one
	meters       instruments
	registration metric.Registration
}

// New registers what reads the gauges; Close ends that. A meter provider that
// refuses an instrument gets no metrics, and the global error handler is told
// why.
func New(cfg Config) *Telemetry {
	t := &Telemetry{errorType: cfg.ErrorType, addressTypes: append(slices.Clip(cfg.AddressTypes), ByDNSName)}
	if cfg.Tracers == nil {
		cfg.Tracers = otel.GetTracerProvider()
	}
	if _, off := cfg.Tracers.(nospans.TracerProvider); !off {
		t.tracer = cfg.Tracers.Tracer(scope, trace.WithInstrumentationVersion(cfg.Version))
	}
	if cfg.Meters == nil {
		cfg.Meters = otel.GetMeterProvider()
	}
	if err := t.meter(cfg.Meters, cfg); err != nil {
		otel.Handle(err)
		_ = t.meter(nometrics.NewMeterProvider(), cfg) // never fails
	}
	return t
}

// Close ends the reading of gauges. It can be called once.
func (t *Telemetry) Close() {
	if err := t.registration.Unregister(); err != nil {
		otel.Handle(err)
	}
}

// Dial begins the span of a Dial. The context is for what the Dial does.
func (t *Telemetry) Dial(ctx context.Context) (context.Context, Span) {
	if t.tracer == nil {
		return ctx, Span{}
	}
	ctx, span := t.tracer.Start(ctx, "cloudsqlconn.Dial", clientKind...)
	if !span.IsRecording() {
		return ctx, Span{}
	}
	return ctx, Span{span, t.errorType}
}

// Dialed ends the span and counts the Dial. i is nil if it is not known which
// instance was meant.
func (t *Telemetry) Dialed(ctx context.Context, span Span, i *Instance, took time.Duration, via Via, err error) {
	if i != nil && span.span != nil {
		span.set(i.described()...)
	}
	switch {
	case via.Stream:
		span.set(bySQLData)
	case via.Address != "" && span.span != nil:
		span.set(keyAddress.String(via.Address))
	}
	span.End(err)
	counted, timed := t.meters.dials.Enabled(ctx), t.meters.durations.Enabled(ctx)
	if !counted && !timed {
		return
	}
	attrs := t.outcome(i, err)
	if by := i.reachedBy(via); by != nil && err == nil {
		attrs = by
	}
	if via.Stream {
		way := metric.WithAttributes(bySQLData)
		t.meters.dials.Add(ctx, 1, attrs, way)
		t.meters.durations.Record(ctx, took.Seconds(), attrs, way)
		return
	}
	t.meters.dials.Add(ctx, 1, attrs)
	t.meters.durations.Record(ctx, took.Seconds(), attrs)
}

// Resolve begins the span of a name's look-up.
func (t *Telemetry) Resolve(ctx context.Context) (context.Context, Span) {
	return t.start(ctx, "resolve")
}

// Hedged counts a call that was made a second time. call is its name, one of
// few.
func (t *Telemetry) Hedged(call string) {
	if ctx := context.Background(); t.meters.hedges.Enabled(ctx) {
		t.meters.hedges.Add(ctx, 1, metric.WithAttributes(keyCall.String(call)))
	}
}

// outcome are the attributes of something that has come to an end.
func (t *Telemetry) outcome(i *Instance, err error) metric.MeasurementOption {
	if err == nil && i != nil {
		return i.succeeded
	}
	var attrs []attribute.KeyValue
	if i != nil {
		attrs = append(attrs, i.name...)
	}
	if err != nil {
		attrs = append(attrs, keyOutcome.String("failure"), keyErrorType.String(t.errorType(err)))
	}
	return metric.WithAttributes(attrs...)
}
