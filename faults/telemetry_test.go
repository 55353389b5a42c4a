package faults_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

func instanceAttributes(more map[string]string) map[string]string {
	m := map[string]string{"cloudsqlconn.instance": testInstance, "cloudsqlconn.iam_authn": "false"}
	maps.Copy(m, more)
	return m
}

// tcpConn is a connection that says that it leads to an IP address, as those in
// memory do not.
type tcpConn struct{ net.Conn }

func (tcpConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 9, 9, 9), Port: 1080} }

func TestADialIsATraceOfItsHops(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{Addrs: publicOnly, DatabaseVersion: "MYSQL_8_4"}, func(t *testing.T, w *world) {
		w.fault.Store(&cloudsqltest.Fault{Delay: 300 * time.Millisecond})
		throughProxy := cloudsqlconn.WithDialFunc(func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := w.DialContext(ctx, network, addr)
			return tcpConn{c}, err
		})
		w.wantDial(throughProxy)
		w.wantFaults()
		server := map[string]string{
			"db.system.name": "mysql", "server.address": "127.9.0.1", "server.port": "3307",
		}
		connected := maps.Clone(server)
		maps.Copy(connected, map[string]string{"network.peer.address": "127.9.9.9", "network.peer.port": "1080"})
		want := map[string]map[string]string{
			"resolve":           {},
			"refresh":           instanceAttributes(nil),
			"connect":           instanceAttributes(connected),
			"handshake":         instanceAttributes(server),
			"cloudsqlconn.Dial": instanceAttributes(map[string]string{"db.system.name": "mysql", "cloudsqlconn.address_type": "PUBLIC"}),
		}
		got := map[string]map[string]string{}
		dial := w.told.named("cloudsqlconn.Dial")[0]
		for _, s := range w.told.spans.Ended() {
			got[s.Name()] = attributes(s.Attributes())
			switch {
			case s.Name() == dial.Name() && s.Parent().IsValid():
				t.Error("the Dial has a parent")
			case s.Name() != dial.Name() && s.Parent().SpanID() != dial.SpanContext().SpanID():
				t.Errorf("%s is no child of the Dial", s.Name())
			}
			if s.Status().Code != codes.Unset {
				t.Errorf("%s: status %v", s.Name(), s.Status())
			}
			if outside := s.Name() == "resolve" || s.Name() == "refresh"; outside == (s.SpanKind() == trace.SpanKindClient) {
				t.Errorf("%s has the kind %v", s.Name(), s.SpanKind())
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("attributes of the spans: -want +got\n%s", diff)
		}
		if s := w.told.named("refresh")[0]; s.EndTime().Sub(s.StartTime()) != 300*time.Millisecond {
			t.Errorf("the refresh took %v, want the API's 300 ms", s.EndTime().Sub(s.StartTime()))
		}

		w.told.spans.Reset()
		w.wantDial()
		if spans := w.told.spans.Ended(); len(spans) != 4 || len(w.told.named("refresh")) != 0 {
			t.Errorf("a warm Dial has %d spans, want 4 and no refresh", len(spans))
		}
	})
}

func TestADialIsAChildOfItsCallersSpan(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		ctx, parent := w.told.tracers.Tracer("test").Start(t.Context(), "query")
		c, err := w.dialer.Dial(ctx, testInstance)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		parent.End()
		if s := w.told.named("cloudsqlconn.Dial")[0]; s.Parent().SpanID() != parent.SpanContext().SpanID() {
			t.Error("the Dial is no child of its caller's span")
		}
	})
}

func TestASpanForEachTry(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{Addrs: publicOnly}, func(t *testing.T, w *world) {
		w.wantDial()
		w.instance.SetAddrs(movedTo)
		w.told.spans.Reset()
		w.wantDial()
		tries := w.told.named("connect")
		if len(tries) != 2 || tries[0].Status().Code != codes.Error || tries[1].Status().Code != codes.Unset {
			t.Fatalf("spans of tries: %v", tries)
		}
		if a := attributes(tries[0].Attributes()); a["server.address"] != "127.9.0.1" || a["error.type"] != "connection_refused" {
			t.Errorf("the failed try: %v", a)
		}
		if a := attributes(tries[1].Attributes()); a["server.address"] != "127.9.0.2" {
			t.Errorf("the other try: %v", a)
		}
		if len(w.told.named("refresh")) != 1 {
			t.Error("no span for the wait for newer metadata")
		}
		if s := w.told.named("cloudsqlconn.Dial")[0]; s.Status().Code != codes.Unset {
			t.Errorf("the Dial: status %v", s.Status())
		}
	})
}

func TestADialThatIsNotSampledHasNoChildren(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		never := sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample()), sdktrace.WithSpanProcessor(w.told.spans))
		w.dialer = w.newDialer(cloudsqlconn.WithTracerProvider(never))
		ctx, parent := w.told.tracers.Tracer("test").Start(t.Context(), "query")
		defer parent.End()
		c, err := w.dialer.Dial(ctx, testInstance)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if n := len(w.told.spans.Ended()); n != 0 {
			t.Errorf("%d spans", n)
		}
	})
}

func TestFailuresHaveAnErrorType(t *testing.T) {
	for want, fail := range map[string]func(w *world) error{
		"bad_name":   func(w *world) error { _, err := w.dialer.Dial(w.t.Context(), "user:secret@nonsense"); return err },
		"config":     func(w *world) error { return w.dial(time.Second, cloudsqlconn.WithIPTypes()) },
		"not_found":  func(w *world) error { w.fault.Store(status(404)); return w.dial(time.Second) },
		"permission": func(w *world) error { w.fault.Store(status(403)); return w.dial(time.Second) },
		"quota":      func(w *world) error { w.fault.Store(status(429)); return w.dial(time.Second) },
		"no_address": func(w *world) error { return w.dial(time.Second, cloudsqlconn.WithPSC()) },
		"unverified": func(w *world) error {
			w.wantDial()
			w.instance.RotateServerCA()
			w.fault.Store(status(503))
			return w.dial(time.Second)
		},
		"dialer_closed": func(w *world) error {
			w.fault.Store(&cloudsqltest.Fault{Hang: true})
			time.AfterFunc(time.Second, func() { _ = w.dialer.Close() })
			return w.dial(time.Minute)
		},
		"deadline_exceeded": func(w *world) error { w.fault.Store(&cloudsqltest.Fault{Hang: true}); return w.dial(time.Second) },
		"canceled": func(w *world) error {
			w.fault.Store(&cloudsqltest.Fault{Hang: true})
			ctx, cancel := context.WithCancel(w.t.Context())
			time.AfterFunc(time.Second, cancel)
			_, err := w.dialer.Dial(ctx, testInstance)
			return err
		},
		"http_409": func(w *world) error { w.instance.SetState(cloudsqltest.Stopped); return w.dial(time.Second) },
		"http_503": func(w *world) error { w.fault.Store(status(503)); return w.dial(time.Second) },
		"not_the_api": func(w *world) error {
			w.fault.Store(&cloudsqltest.Fault{Status: 403, Body: "<html>"})
			return w.dial(time.Second)
		},
		"token": func(w *world) error {
			w.withLogin(refusing)
			return w.dial(time.Second)
		},
		"dns": func(w *world) error {
			w.withOptions(cloudsqlconn.WithHTTPClient(&http.Client{Transport: settingsBreak{noNetwork("sqladmin.googleapis.com")}}))
			return w.dial(time.Second)
		},
		"connection_refused": func(w *world) error { w.instance.Stop(); return w.dial(time.Second) },
		"connection_reset": func(w *world) error {
			return w.dial(time.Second, cloudsqlconn.WithDialFunc(breaking(os.NewSyscallError("read", syscall.ECONNRESET))))
		},
		"tls": func(w *world) error {
			return w.dial(time.Second, cloudsqlconn.WithDialFunc(breaking(io.EOF)))
		},
		"proxy": func(w *world) error { return w.dial(time.Second, cloudsqlconn.WithProxy("http://127.3.0.9:3128")) },
		"_OTHER": func(w *world) error {
			return w.dial(time.Second, cloudsqlconn.WithDialFunc(func(context.Context, string, string) (net.Conn, error) {
				return nil, fmt.Errorf("no route")
			}))
		},
	} {
		t.Run(want, func(t *testing.T) {
			inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
				err := fail(w)
				if err == nil {
					t.Fatal("the fault did not happen")
				}
				s := w.told.named("cloudsqlconn.Dial")[len(w.told.named("cloudsqlconn.Dial"))-1]
				a := attributes(s.Attributes())
				if a["error.type"] != want || s.Status().Code != codes.Error || s.Status().Description != err.Error() {
					t.Errorf("the span: %v, status %v, want %s", a, s.Status(), want)
				}
				if strings.Contains(fmt.Sprint(a), "secret") {
					t.Errorf("what the caller passed as a name is an attribute: %v", a)
				}
				counts := map[string]int64{want + " failure": 1}
				if want == "unverified" {
					counts["success"] = 1
				}
				w.told.wantSum("cloudsqlconn.dial.count", counts)
			})
		})
	}
}

func TestMetricsCountDialsConnectionsAndBytes(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		w.fault.Store(&cloudsqltest.Fault{Delay: 300 * time.Millisecond})
		var conns []net.Conn
		for range 3 {
			c, err := w.dialer.Dial(t.Context(), testInstance)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			conns = append(conns, c)
		}
		if err := echo(conns[0]); err != nil {
			t.Fatal(err)
		}
		_ = conns[1].Close()
		_ = conns[1].Close()

		w.told.wantSum("cloudsqlconn.dial.count", map[string]int64{"success": 3})
		w.told.wantSum("cloudsqlconn.refresh.count", map[string]int64{"success": 1})
		w.told.wantSum("cloudsqlconn.connections.open", map[string]int64{"": 2})
		w.told.wantSum("cloudsqlconn.io", map[string]int64{"receive": 5, "transmit": 5})
		h := w.told.metric("cloudsqlconn.dial.duration").(metricdata.Histogram[float64]).DataPoints
		if len(h) != 1 || h[0].Count != 3 || math.Abs(h[0].Sum-0.3) > 1e-9 {
			t.Errorf("durations: %+v, want 3 Dials, the first of which took 300 ms", h)
		}
		if diff := cmp.Diff(instanceAttributes(map[string]string{"outcome": "success", "cloudsqlconn.address_type": "PUBLIC"}), attributes(h[0].Attributes.ToSlice())); diff != "" {
			t.Errorf("attributes: -want +got\n%s", diff)
		}
		left := func() float64 {
			return w.told.metric("cloudsqlconn.refresh.expiry").(metricdata.Gauge[float64]).DataPoints[0].Value
		}
		at := left()
		if expiry := w.dialer.Instances()[0].CertificateExpiry; math.Abs(at-time.Until(expiry).Seconds()) > 1e-6 {
			t.Errorf("%v s left, want until %v", at, expiry)
		}
		time.Sleep(10 * time.Minute)
		if later := left(); math.Abs(at-later-600) > 1e-6 {
			t.Errorf("%v s left ten minutes later, it was %v", later, at)
		}
	})
}

// by returns how many Dials have connected, by type of address.
func (w *witness) by(name string) map[string]int64 {
	got := map[string]int64{}
	if data, ok := w.metric(name).(metricdata.Sum[int64]); ok {
		for _, p := range data.DataPoints {
			got[attributes(p.Attributes.ToSlice())["cloudsqlconn.address_type"]] += p.Value
		}
	}
	return got
}

func TestDialsAreCountedByTypeOfAddress(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		w.wantDial(cloudsqlconn.WithPublicIP())
		w.wantDial(cloudsqlconn.WithPrivateIP())
		w.wantDial(cloudsqlconn.WithPrivateIP())
		if got, want := w.told.by("cloudsqlconn.dial.count"), map[string]int64{"PUBLIC": 1, "PRIVATE": 2}; !maps.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

func TestConnectionsAreTimedUntilTheyAreClosed(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		var conns []net.Conn
		for range 3 {
			c, err := w.dialer.Dial(t.Context(), testInstance)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			conns = append(conns, c)
		}
		for _, c := range conns[:2] {
			time.Sleep(time.Minute)
			_ = c.Close()
			_ = c.Close()
		}
		h := w.told.metric("cloudsqlconn.connection.duration").(metricdata.Histogram[float64]).DataPoints
		// Closing takes a moment.
		if len(h) != 1 || h[0].Count != 2 || math.Abs(h[0].Sum-180) > 1 {
			t.Errorf("durations: %+v, want one minute and two", h)
		}
	})
}

func TestPasswordAndIAMLoginAreMeasuredApart(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		w.withLogin(lasting(w.LoginToken(), 20*time.Minute))
		w.wantDial()
		w.wantDial(cloudsqlconn.WithIAMAuthN(false))
		points := w.told.metric("cloudsqlconn.refresh.expiry").(metricdata.Gauge[float64]).DataPoints
		left := map[string]float64{}
		for _, p := range points {
			left[attributes(p.Attributes.ToSlice())["cloudsqlconn.iam_authn"]] = math.Round(p.Value)
		}
		if len(left) != 2 || left["true"] != 1200 || left["false"] < 3000 {
			t.Errorf("seconds left by IAM login: %v, want the login token's 1200, and an hour", left)
		}
	})
}

func TestRefreshesAreCountedWhereverTheyHappen(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		w.wantDial()
		w.fault.Store(status(403))
		time.Sleep(40 * time.Minute)
		synctest.Wait()
		w.wantFaults()
		sum := w.told.metric("cloudsqlconn.refresh.count").(metricdata.Sum[int64]).DataPoints
		i := slices.IndexFunc(sum, func(p metricdata.DataPoint[int64]) bool {
			a := attributes(p.Attributes.ToSlice())
			return a["outcome"] == "failure" && a["error.type"] == "permission"
		})
		if i < 0 || sum[i].Value < 1 {
			t.Errorf("refreshes: %+v, want failures in the background", sum)
		}
		w.told.wantSum("cloudsqlconn.dial.count", map[string]int64{"success": 1})
	})
}

func TestNothingIsReadAfterClose(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		c, err := w.dialer.Dial(t.Context(), testInstance)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if w.told.metric("cloudsqlconn.connections.open") == nil {
			t.Fatal("nothing is read before Close")
		}
		if err := w.dialer.Close(); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"cloudsqlconn.connections.open", "cloudsqlconn.io", "cloudsqlconn.refresh.expiry"} {
			if got := w.told.metric(name); got != nil && !strings.Contains(fmt.Sprintf("%+v", got), "DataPoints:[]") {
				t.Errorf("%s after Close: %+v", name, got)
			}
		}
	})
}

// F36
func TestObservedConnectionsCostNoGoroutines(t *testing.T) {
	inQuietWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		const n = 100
		w.wantDial()
		synctest.Wait()
		before := runtime.NumGoroutine()
		for range n {
			c, err := w.dialer.Dial(t.Context(), testInstance)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
		}
		w.told.wantSum("cloudsqlconn.connections.open", map[string]int64{"": n})
		// One goroutine for each connection is the kit's.
		if more := runtime.NumGoroutine() - before; more > n {
			t.Errorf("%d connections added %d goroutines, %d of them the server's", n, more, n)
		}
	})
}
