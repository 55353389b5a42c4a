package telemetry

import (
	"context"
	"net"
	"net/netip"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// Made once, so that a Dial without a tracer need not.
var clientKind = []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindClient)}

// Span is one in progress. Its zero value is none.
type Span struct {
	span      trace.Span // nil: none
	errorType func(error) string
}

// start begins a span under that of ctx, unless that one is not recorded.
func (t *Telemetry) start(ctx context.Context, name string, opts ...trace.SpanStartOption) (context.Context, Span) {
	if !t.traces(ctx) {
		return ctx, Span{}
	}
	ctx, span := t.tracer.Start(ctx, name, opts...)
	return ctx, Span{span, t.errorType}
}

// traces reports whether spans under that of ctx are recorded.
func (t *Telemetry) traces(ctx context.Context) bool {
	return t.tracer != nil && trace.SpanFromContext(ctx).IsRecording()
}

// End ends the span; err says why what it stands for has failed, or is nil.
func (s Span) End(err error) {
	if s.span == nil {
		return
	}
	if err != nil {
		s.span.SetAttributes(keyErrorType.String(s.errorType(err)))
		s.span.SetStatus(codes.Error, err.Error())
	}
	s.span.End()
}

// Peer tells who answers at the other end of a connection: the instance, or a
// proxy. An address without IP and port is passed over.
func (s Span) Peer(addr net.Addr) {
	if s.span == nil || addr == nil {
		return
	}
	if peer, err := netip.ParseAddrPort(addr.String()); err == nil {
		s.set(keyPeer.String(peer.Addr().String()), keyPeerPort.Int(int(peer.Port())))
	}
}

// Status tells the gRPC status of what the span stands for, such as UNAVAILABLE.
// There is none if it is empty.
func (s Span) Status(code string) {
	if code != "" {
		s.set(keyStatus.String(code))
	}
}

func (s Span) set(attrs ...attribute.KeyValue) {
	if s.span != nil {
		s.span.SetAttributes(attrs...)
	}
}
