package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn/internal/test/testmain"
)

func TestMain(m *testing.M) { os.Exit(testmain.Run(m)) }

// printed is a span, or all metrics.
type printed struct {
	Name         string
	SpanContext  struct{ SpanID string }
	Parent       struct{ SpanID string }
	ScopeMetrics []struct{ Metrics []struct{ Name string } }
}

func TestPrintsTheTraceAndTheMetricsOfADial(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := run(t.Context(), "", &out); err != nil {
		t.Fatal(err)
	}
	spans := map[string]printed{}
	metrics := map[string]bool{}
	for d := json.NewDecoder(&out); ; {
		var p printed
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		spans[p.Name] = p
		for _, scope := range p.ScopeMetrics {
			for _, m := range scope.Metrics {
				metrics[m.Name] = true
			}
		}
	}
	for child, parent := range map[string]string{
		"cloudsqlconn.Dial": "say hello",
		"resolve":           "cloudsqlconn.Dial",
		"refresh":           "cloudsqlconn.Dial",
		"connect":           "cloudsqlconn.Dial",
		"handshake":         "cloudsqlconn.Dial",
	} {
		if c, p := spans[child], spans[parent]; c.Name == "" || c.Parent.SpanID != p.SpanContext.SpanID {
			t.Errorf("%q is not printed as a child of %q: %v", child, parent, c)
		}
	}
	for _, name := range []string{
		"cloudsqlconn.dial.duration", "cloudsqlconn.dial.count", "cloudsqlconn.refresh.count",
		"cloudsqlconn.refresh.expiry", "cloudsqlconn.connections.open", "cloudsqlconn.io",
	} {
		if !metrics[name] {
			t.Errorf("%s is not printed: %v", name, metrics)
		}
	}
}

func TestSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	if err := run(t.Context(), "nonsense", new(bytes.Buffer)); err == nil {
		t.Error("no error for a bad name")
	}
}
