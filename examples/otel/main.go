// Otel prints the trace of a Dial and the metrics after it, as OpenTelemetry
// exporters get them.
//
// Without arguments it emulates an instance:
//
//	go run ./examples/otel
//
// With an instance it dials that one, with Application Default Credentials:
//
//	go run ./examples/otel -instance my-project:europe-west1:my-db
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"

	"go.opentelemetry.io/otel/exporters/stdout/stdoutmetric"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

func main() {
	instance := flag.String("instance", "", "`project:region:instance` in Cloud SQL; empty: an emulated one")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *instance, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		if hint := cloudsqlconn.Hint(err); hint != "" {
			fmt.Fprintln(os.Stderr, hint)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, instance string, out io.Writer) error {
	var opts []cloudsqlconn.Option
	if instance == "" {
		server := cloudsqltest.NewServer()
		defer server.Close()
		instance = "my-project:europe-west1:my-db"
		server.AddInstance(instance, cloudsqltest.Instance{Handler: cloudsqltest.Echo})
		opts = server.Options()
	}
	tracers, meters, err := providers(out)
	if err != nil {
		return err
	}

	// Programs that call otel.SetTracerProvider and otel.SetMeterProvider need
	// neither option.
	dialer, err := cloudsqlconn.NewDialer(ctx, append(opts,
		cloudsqlconn.WithTracerProvider(tracers),
		cloudsqlconn.WithMeterProvider(meters))...)
	if err != nil {
		return err
	}
	err = dial(ctx, dialer, tracers, instance)

	// What is still to be sent is sent now. The Dialer comes last: after its
	// Close, open connections and bytes are not read any more.
	return errors.Join(err, tracers.Shutdown(ctx), meters.Shutdown(ctx), dialer.Close())
}

// providers are set up as in any program. A real one exports to a collector
// (otlptracegrpc, otlpmetricgrpc), in batches, every minute.
func providers(out io.Writer) (*sdktrace.TracerProvider, *sdkmetric.MeterProvider, error) {
	spans, err := stdouttrace.New(stdouttrace.WithWriter(out), stdouttrace.WithPrettyPrint())
	if err != nil {
		return nil, nil, err
	}
	metrics, err := stdoutmetric.New(stdoutmetric.WithWriter(out), stdoutmetric.WithPrettyPrint())
	if err != nil {
		return nil, nil, err
	}
	return sdktrace.NewTracerProvider(sdktrace.WithBatcher(spans)),
		sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewPeriodicReader(metrics))), nil
}

// dial is a part of the program that has a span of its own: that of the Dial
// becomes its child.
func dial(ctx context.Context, dialer *cloudsqlconn.Dialer, tracers *sdktrace.TracerProvider, instance string) error {
	ctx, span := tracers.Tracer("example").Start(ctx, "say hello")
	defer span.End()
	conn, err := dialer.Dial(ctx, instance)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = io.WriteString(conn, "hello")
	return err
}
