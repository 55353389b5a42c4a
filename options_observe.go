package cloudsqlconn

import (
	"log/slog"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

// observeConfig is where a Dialer tells what it does.
type observeConfig struct {
	log     *slog.Logger
	tracers trace.TracerProvider // nil: the global one
	meters  metric.MeterProvider // nil: the global one
	errs    mistakes             // about options that cannot even be stored
}

// WithLogger sets the log. Default: none.
//
// Each instance has a logger of its own, with the attribute instance. Routine
// events are logged at Debug: Dials, refreshes, and logins that are repeated.
// Changes of state are logged at Info: new addresses, a new server CA, an address
// that does not answer while another one does, a DNS name that now means another
// instance, an instance that SQL Data does not serve, a recovery. Failures that will
// be retried are logged at Warn: of a refresh while the old certificate is still
// valid, of a Dial before its next attempt, of SQL Data when it is exhausted, of a
// background look-up. Errors that a method returns are not logged. No token, key or
// password is logged. The texts and attributes of the records can change at any
// time.
//
// The handler is called from many goroutines, and holds up Dials and refreshes
// while it runs.
func WithLogger(l *slog.Logger) Option {
	return option(func(c *config) {
		c.observe.log = l
		c.observe.errs.note(l == nil, "WithLogger: the logger is nil")
	})
}

// WithTracerProvider sets the provider for the spans of Dials. Default: the global
// one, otel.GetTracerProvider(), which records nothing until the program sets
// another. To record nothing at all, pass NewTracerProvider() of
// go.opentelemetry.io/otel/trace/noop, which costs nothing.
//
// The span cloudsqlconn.Dial has the children resolve, connect and handshake,
// or stream (with [WithSQLData]), one for each attempt, and refresh if the Dial had
// to wait for metadata and certificate; a refresh itself belongs to no Dial, and has
// no span. Attributes: cloudsqlconn.instance, cloudsqlconn.iam_authn,
// db.system.name, server.address and server.port, network.peer.address and
// network.peer.port (the instance's, or a proxy's), and error.type ([Error.Code]); with SQL Data,
// cloudsqlconn.way, which is sql_data, and for a stream that failed
// rpc.response.status_code; without SQL Data, for a Dial that has connected,
// cloudsqlconn.address_type (PUBLIC, PRIVATE, PSC, or DNS_NAME for an address that
// only the DNS name has).
func WithTracerProvider(p trace.TracerProvider) Option {
	return option(func(c *config) {
		c.observe.tracers = p
		c.observe.errs.note(p == nil, "WithTracerProvider: the provider is nil; pass that of go.opentelemetry.io/otel/trace/noop for no spans")
	})
}

// WithMeterProvider sets the provider for metrics. Default: the global one,
// otel.GetMeterProvider(), which keeps nothing until the program sets another.
// To have none at all, pass NewMeterProvider() of
// go.opentelemetry.io/otel/metric/noop.
//
// All but hedge.count have the attributes cloudsqlconn.instance, if it is
// known, and cloudsqlconn.iam_authn:
//
//   - cloudsqlconn.dial.duration, a histogram, in seconds, and
//     cloudsqlconn.dial.count: by outcome (success, failure) and error.type
//     ([Error.Code]); if SQL Data was used, also by
//     cloudsqlconn.way (sql_data), and otherwise, for those that have connected, by
//     cloudsqlconn.address_type
//   - cloudsqlconn.refresh.count: by outcome and error.type
//   - cloudsqlconn.repeated_login.count: IAM logins that were repeated, by outcome
//     and error.type: see [WithLoginAfterRefresh]
//   - cloudsqlconn.refresh.expiry: seconds until the result of the last refresh
//     expires
//   - cloudsqlconn.hedge.count: calls that were made a second time, since their
//     answer took longer than usual; by cloudsqlconn.call (connectSettings,
//     generateEphemeralCert, resolveConnectSettings, token, metadata server)
//   - cloudsqlconn.connection.duration, a histogram, in seconds: how long
//     connections that have been closed were open
//   - cloudsqlconn.connections.open
//   - cloudsqlconn.io, in bytes of the database protocol: by
//     network.io.direction (receive, transmit)
//
// The last two and refresh.expiry are read when the provider collects, until Close.
func WithMeterProvider(p metric.MeterProvider) Option {
	return option(func(c *config) {
		c.observe.meters = p
		c.observe.errs.note(p == nil, "WithMeterProvider: the provider is nil; pass that of go.opentelemetry.io/otel/metric/noop for no metrics")
	})
}
