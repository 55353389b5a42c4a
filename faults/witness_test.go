package faults_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/cloudsqlconn/cloudsqlconn"
)

// witness takes all that Dialers tell: logs, spans and metrics.
type witness struct {
	t       *testing.T
	spans   *tracetest.SpanRecorder
	metrics *sdkmetric.ManualReader
	tracers *sdktrace.TracerProvider
	meters  *sdkmetric.MeterProvider

	mu  sync.Mutex // guards log
	log bytes.Buffer
}

func newWitness(t *testing.T) *witness {
	w := &witness{t: t, spans: tracetest.NewSpanRecorder(), metrics: sdkmetric.NewManualReader()}
	w.tracers = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(w.spans))
	w.meters = sdkmetric.NewMeterProvider(sdkmetric.WithReader(w.metrics))
	return w
}

func (w *witness) options() cloudsqlconn.Option {
	return cloudsqlconn.Options(
		cloudsqlconn.WithLogger(slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))),
		cloudsqlconn.WithTracerProvider(w.tracers),
		cloudsqlconn.WithMeterProvider(w.meters),
	)
}

// Write takes a record of the log.
func (w *witness) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(b)
}

// records returns the records of at least this level since the last call, and
// forgets the others.
func (w *witness) records(least slog.Level) (list []map[string]any) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	defer w.log.Reset()
	for line := range strings.Lines(w.log.String()) {
		var r map[string]any
		var level slog.Level
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			w.t.Fatal(err)
		}
		if err := level.UnmarshalText([]byte(r["level"].(string))); err != nil {
			w.t.Fatal(err)
		}
		if level >= least {
			list = append(list, r)
		}
	}
	return list
}

// all is everything that was told, as text.
func (w *witness) all() string {
	var b strings.Builder
	w.mu.Lock()
	b.Write(w.log.Bytes())
	w.mu.Unlock()
	for _, s := range w.spans.Ended() {
		fmt.Fprintf(&b, "%s %v %v %v\n", s.Name(), s.Status(), s.Events(), s.Links())
		for _, a := range s.Attributes() {
			fmt.Fprintf(&b, "%s=%s\n", a.Key, a.Value.String())
		}
	}
	var m metricdata.ResourceMetrics
	if err := w.metrics.Collect(context.Background(), &m); err != nil {
		w.t.Error(err)
	}
	for _, scope := range m.ScopeMetrics {
		text, err := json.Marshal(scope)
		if err != nil {
			w.t.Error(err)
		}
		b.Write(text)
	}
	return b.String()
}

// named returns the spans of this name that have ended.
func (w *witness) named(name string) (list []sdktrace.ReadOnlySpan) {
	for _, s := range w.spans.Ended() {
		if s.Name() == name {
			list = append(list, s)
		}
	}
	return list
}

// attributes returns attributes as texts.
func attributes(list []attribute.KeyValue) map[string]string {
	m := map[string]string{}
	for _, a := range list {
		m[string(a.Key)] = a.Value.String()
	}
	return m
}

// metric collects, and returns what a metric says now: nil if nothing.
func (w *witness) metric(name string) metricdata.Aggregation {
	w.t.Helper()
	var m metricdata.ResourceMetrics
	if err := w.metrics.Collect(context.Background(), &m); err != nil {
		w.t.Fatal(err)
	}
	for _, scope := range m.ScopeMetrics {
		for _, metric := range scope.Metrics {
			if metric.Name == name {
				return metric.Data
			}
		}
	}
	return nil
}

// wantSum checks the points of a sum. A point is written as its attributes but
// the instance's, and its value.
func (w *witness) wantSum(name string, want map[string]int64) {
	w.t.Helper()
	got := map[string]int64{}
	if data, ok := w.metric(name).(metricdata.Sum[int64]); ok {
		for _, p := range data.DataPoints {
			var key []string
			for _, a := range p.Attributes.ToSlice() { // sorted
				if !strings.HasPrefix(string(a.Key), "cloudsqlconn.") {
					key = append(key, a.Value.String())
				}
			}
			got[strings.Join(key, " ")] += p.Value
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		w.t.Errorf("%s: got %v, want %v", name, got, want)
	}
}
