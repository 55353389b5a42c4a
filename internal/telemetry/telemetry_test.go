package telemetry

import (
	"context"
	"errors"
	"maps"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	nometrics "go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	nospans "go.opentelemetry.io/otel/trace/noop"

	"github.com/cloudsqlconn/cloudsqlconn/internal/engine"
)

const name = "my-project:europe-west1:my-db"

func config() Config {
	return Config{
		Version:      "1.2.3",
		AddressTypes: []string{"PUBLIC", "PRIVATE", "PSC"},
		ErrorType:    func(error) string { return "_OTHER" },
		Read:         func(func(*Instance, Reading)) {},
	}
}

// dial tells of a Dial as a Dialer does.
func dial(ctx context.Context, t *Telemetry, i *Instance) {
	ctx, whole := t.Dial(ctx)
	_, resolve := t.Resolve(ctx)
	resolve.End(nil)
	_, connect := i.Connect(ctx, "192.0.2.1", 3307)
	connect.Peer(nil)
	connect.End(nil)
	_, handshake := i.Handshake(ctx, "192.0.2.1", 3307)
	handshake.End(nil)
	t.Dialed(ctx, whole, i, time.Millisecond, Via{Address: "PRIVATE"}, nil)
	i.Closed(time.Minute)
}

// global is what happened in a process whose global providers were set late. It
// can happen only once in a process.
var global = sync.OnceValue(func() (g struct {
	allocations float64 // of a Dial, before
	spans       []sdktrace.ReadOnlySpan
	metrics     metricdata.ResourceMetrics
	err         error
}) {
	ctx := context.Background()
	early := New(config())
	defer early.Close()
	i := early.Instance(name, false)
	i.SetEngine("POSTGRES_16")
	g.allocations = testing.AllocsPerRun(100, func() { dial(ctx, early, i) })

	spans, reader := tracetest.NewSpanRecorder(), sdkmetric.NewManualReader()
	otel.SetTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)))
	otel.SetMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)))
	late := New(config())
	defer late.Close()
	dial(ctx, early, i)
	dial(ctx, late, late.Instance(name, false))
	g.spans = spans.Ended()
	g.err = reader.Collect(ctx, &g.metrics)
	return g
})

// Not parallel: it counts allocations.
func TestWhatIsOffAllocatesNothing(t *testing.T) {
	cfg := config()
	cfg.Tracers, cfg.Meters = nospans.NewTracerProvider(), nometrics.NewMeterProvider()
	off := New(cfg)
	defer off.Close()
	i := off.Instance(name, false)
	i.SetEngine("POSTGRES_16")
	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() { dial(ctx, off, i) }); n != 0 {
		t.Errorf("providers that do nothing: %v allocations for a Dial, want 0", n)
	}
	// The global tracer makes a span that records nothing, and its context.
	if n := global().allocations; n > 3 {
		t.Errorf("global providers that nobody has set: %v allocations for a Dial, want 3", n)
	}
}

func TestGlobalProvidersAreTheDefaultAlsoWhenSetLater(t *testing.T) {
	g := global()
	if len(g.spans) != 8 {
		t.Errorf("%d spans, want 4 of each Dial", len(g.spans))
	}
	for _, s := range g.spans {
		if got := s.InstrumentationScope(); got.Name != scope || got.Version != "1.2.3" {
			t.Errorf("scope %+v", got)
		}
	}
	if g.err != nil {
		t.Fatal(g.err)
	}
	found := false
	for _, m := range g.metrics.ScopeMetrics[0].Metrics { // in any order
		if m.Name != "cloudsqlconn.dial.count" {
			continue
		}
		found = true
		if m.Unit != "{dial}" || m.Data.(metricdata.Sum[int64]).DataPoints[0].Value != 2 {
			t.Errorf("metrics: %+v, want 2 Dials", m)
		}
	}
	if !found {
		t.Errorf("no cloudsqlconn.dial.count in %+v", g.metrics)
	}
}

func TestEnginesHaveTheConventionsNames(t *testing.T) {
	t.Parallel()
	cfg := config()
	cfg.Tracers, cfg.Meters = nospans.NewTracerProvider(), nometrics.NewMeterProvider()
	for version, want := range map[string]string{
		"POSTGRES_16":             "postgresql",
		"MYSQL_8_0_31":            "mysql",
		"SQLSERVER_2022_STANDARD": "microsoft.sql_server",
		"ORACLE_1":                "",
		"":                        "",
	} {
		i := New(cfg).Instance(name, true)
		i.SetEngine(version)
		got := ""
		for _, a := range i.described() {
			if a.Key == "db.system.name" {
				got = a.Value.AsString()
			}
		}
		if got != want {
			t.Errorf("%q: db.system.name is %q, want %q", version, got, want)
		}
	}
}

func TestPeersWithoutIPAreNoAttributes(t *testing.T) {
	t.Parallel()
	spans := tracetest.NewSpanRecorder()
	cfg := config()
	cfg.Tracers, cfg.Meters = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)), nometrics.NewMeterProvider()
	tel := New(cfg)
	ctx, whole := tel.Dial(t.Context())
	defer whole.End(nil)
	for _, tt := range []struct {
		addr net.Addr
		want int
	}{
		{nil, 4},
		{&net.UnixAddr{Name: "/run/proxy.sock", Net: "unix"}, 4},
		{&net.TCPAddr{IP: net.ParseIP("2001:db8::1"), Port: 1080}, 6},
	} {
		_, s := tel.Instance(name, false).Connect(ctx, "db.example.com", 3307)
		s.Peer(tt.addr)
		s.End(nil)
		if a := spans.Ended()[len(spans.Ended())-1].Attributes(); len(a) != tt.want {
			t.Errorf("%v: attributes %v, want %d", tt.addr, a, tt.want)
		}
	}
}

// picky is a meter provider that refuses an instrument.
type picky struct {
	nometrics.MeterProvider
	why error
}

func (p picky) Meter(string, ...metric.MeterOption) metric.Meter { return pickyMeter{why: p.why} }

type pickyMeter struct {
	nometrics.Meter
	why error
}

func (m pickyMeter) Float64Histogram(string, ...metric.Float64HistogramOption) (metric.Float64Histogram, error) {
	return nil, m.why
}

func TestARefusedInstrumentStopsNothing(t *testing.T) {
	why := errors.New("no histograms")
	var told error
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { told = err }))
	cfg := config()
	cfg.Tracers, cfg.Meters = nospans.NewTracerProvider(), picky{why: why}
	tel := New(cfg)
	dial(t.Context(), tel, tel.Instance(name, false))
	tel.Close()
	if !errors.Is(told, why) {
		t.Errorf("the error handler was told %v, want %v", told, why)
	}
}

func TestEveryEngineHasAName(t *testing.T) {
	t.Parallel()
	told := New(config())
	defer told.Close()
	for _, e := range engine.All {
		i := told.Instance(name, false)
		if i.SetEngine(string(e) + "_1"); i.system.Load() == nil {
			t.Errorf("%s has no name", e)
		}
	}
}

// WithMeterProvider lists for users what is measured.
func TestTheDocumentationListsTheMetrics(t *testing.T) {
	t.Parallel()
	metrics := map[string]bool{}
	cfg := config()
	cfg.Meters = sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()), sdkmetric.WithView(func(i sdkmetric.Instrument) (sdkmetric.Stream, bool) {
		metrics[i.Name] = true
		return sdkmetric.Stream{}, false
	}))
	New(cfg).Close()
	const page = "../../options_observe.go"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(text), "// WithMeterProvider ")
	listed := map[string]bool{}
	for _, word := range regexp.MustCompile(`cloudsqlconn\.\w+(\.\w+)?`).FindAllString(list, -1) {
		switch attribute.Key(word) {
		case keyInstance, keyIAMAuthN, keyWay, keyAddress, keyCall:
		default:
			listed[word] = true
		}
	}
	if len(metrics) == 0 || !maps.Equal(metrics, listed) {
		t.Errorf("there are %v; %s has %v", slices.Sorted(maps.Keys(metrics)), page, slices.Sorted(maps.Keys(listed)))
	}
}
