package cloudsqlconn_test

import (
	"context"
	"io"
	"log/slog"
	"testing"

	nometrics "go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	nospans "go.opentelemetry.io/otel/trace/noop"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// BenchmarkWarmDial tells what observing costs:
//
//	go test -run '^$' -bench WarmDial -benchtime 300x -count 10 .
func BenchmarkWarmDial(b *testing.B) {
	for _, bb := range []struct {
		name string
		opts []cloudsqlconn.Option
	}{
		{"default", nil},
		{"noop", []cloudsqlconn.Option{
			cloudsqlconn.WithTracerProvider(nospans.NewTracerProvider()), cloudsqlconn.WithMeterProvider(nometrics.NewMeterProvider()),
		}},
		{"log disabled", []cloudsqlconn.Option{
			cloudsqlconn.WithLogger(slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelInfo}))),
		}},
		{"everything", []cloudsqlconn.Option{
			cloudsqlconn.WithLogger(slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelDebug}))),
			cloudsqlconn.WithTracerProvider(sdktrace.NewTracerProvider()),
			cloudsqlconn.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))),
		}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			server := cloudsqltest.NewMemoryServer()
			defer server.Close()
			server.AddInstance(testInstance, cloudsqltest.Instance{})
			dialer, err := cloudsqlconn.NewDialer(context.Background(), append(server.Options(), bb.opts...)...)
			if err != nil {
				b.Fatal(err)
			}
			defer dialer.Close()
			if err := dialer.Warmup(context.Background(), testInstance); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				c, err := dialer.Dial(context.Background(), testInstance)
				if err != nil {
					b.Fatal(err)
				}
				_ = c.Close()
			}
		})
	}
}
