package faults_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/authtest"
)

// hangFirst makes the first request of each of these calls hang.
func hangFirst(w *world, calls ...string) func(*http.Request) *cloudsqltest.Fault {
	first := map[string]*atomic.Bool{}
	for _, c := range calls {
		first[c] = new(atomic.Bool)
	}
	return func(r *http.Request) *cloudsqltest.Fault {
		for c, hung := range first {
			if strings.HasSuffix(r.URL.Path, c) && !hung.Swap(true) {
				w.faults.Add(1)
				return &cloudsqltest.Fault{Hang: true}
			}
		}
		return nil
	}
}

// hedges are those that were counted, by call.
func (w *world) hedges() map[string]int64 {
	counts := map[string]int64{}
	if sum, ok := w.told.metric("cloudsqlconn.hedge.count").(metricdata.Sum[int64]); ok {
		for _, p := range sum.DataPoints {
			call, _ := p.Attributes.Value("cloudsqlconn.call")
			counts[call.AsString()] = p.Value
		}
	}
	return counts
}

// wantHedges checks what was counted.
func (w *world) wantHedges(want map[string]int64) {
	w.t.Helper()
	if got := w.hedges(); fmt.Sprint(got) != fmt.Sprint(want) {
		w.t.Errorf("hedges counted: %v, want %v", got, want)
	}
}

// A call of the Admin API that was accepted and never answered cost every
// caller with less than 20 s: with 5 s each, four Dials failed (issue 13,
// point 3). Google's connector needs one failed Dial for that.
func TestOneHungCallFailsNoDial(t *testing.T) {
	both := []string{cloudsqltest.ConnectSettings, cloudsqltest.GenerateEphemeralCert}
	for name, tt := range map[string]struct {
		calls []string
		iam   bool
		most  time.Duration
	}{
		"metadata":                  {both[:1], false, 2 * time.Second},
		"certificate":               {both[1:], false, 2 * time.Second},
		"both":                      {both, false, 2 * time.Second},
		"both, one after the other": {both, true, 4 * time.Second},
	} {
		calls := tt.calls
		t.Run(name, func(t *testing.T) {
			bothStrategies(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
				w.OnRequest = hangFirst(w, calls...)
				d := took(func() {
					parallel(10, func(int) {
						if err := w.dial(5*time.Second, cloudsqlconn.WithIAMAuthN(tt.iam)); err != nil {
							t.Error(err)
						}
					})
				})
				if n := int(w.faults.Load()); n != len(calls) {
					t.Fatalf("the fault happened %d times", n)
				}
				if d > tt.most {
					t.Errorf("Dial took %v", d)
				}
				w.wantCalls(2 + len(calls))
				want := map[string]int64{}
				for _, c := range calls {
					want[c] = 1
				}
				w.wantHedges(want)
				if h := w.dialer.Instances()[0].History; len(h) != 1 || h[0].Hedges != len(calls) || h[0].Error != "" {
					t.Errorf("history: %+v", h)
				}
			})
		})
	}
}

// As long as the API asks to be left alone, it gets no call that it need not.
func TestAnAPIThatAsksToBeLeftAloneGetsNoHedges(t *testing.T) {
	const other = "my-project:europe-west1:other-db"
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		w.AddInstance(other, cloudsqltest.Instance{})
		var refused, hung atomic.Int64
		w.OnRequest = func(r *http.Request) *cloudsqltest.Fault {
			if strings.Contains(r.URL.Path, "other-db") {
				hung.Add(1)
				return &cloudsqltest.Fault{Hang: true}
			}
			refused.Add(1)
			return &cloudsqltest.Fault{Status: 429, Header: http.Header{"Retry-After": {"10"}}}
		}
		if err := w.dial(time.Second); err == nil || refused.Load() == 0 {
			t.Fatalf("the fault did not happen: %v", err)
		}
		warm := func(within time.Duration) {
			ctx, cancel := context.WithTimeout(context.Background(), within)
			defer cancel()
			_ = w.dialer.Warmup(ctx, other)
		}
		warm(8 * time.Second)
		if n := hung.Load(); n != 2 {
			t.Errorf("%d calls after 8 s, want no hedges", n)
		}
		warm(3 * time.Second) // it is over now, or nearly
		if n := hung.Load(); n != 4 {
			t.Errorf("%d calls after 11 s, want both made a second time", n)
		}
	})
}

// When every call takes three seconds, a second one brings nothing.
func TestASlowAPIIsNotAskedTwiceForEver(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		w.fault.Store(&cloudsqltest.Fault{Delay: 3 * time.Second})
		for end := time.Now().Add(24 * time.Hour); time.Now().Before(end); time.Sleep(10 * time.Minute) {
			w.wantDial()
		}
		w.wantFaults()
		hedges := 0
		for _, n := range w.hedges() {
			hedges += int(n)
		}
		if calls := w.calls(); calls < 50 || hedges == 0 || hedges > 8 {
			t.Errorf("%d calls, of which %d are hedges", calls, hedges)
		}
	})
}

// firstHangs is a way to servers on which the first request for this path is
// never answered.
type firstHangs struct {
	http.RoundTripper
	path  string
	asked atomic.Int64
}

func (f *firstHangs) RoundTrip(req *http.Request) (*http.Response, error) {
	if strings.HasPrefix(req.URL.Path, f.path) && f.asked.Add(1) == 1 {
		<-req.Context().Done()
		return nil, req.Context().Err()
	}
	return f.RoundTripper.RoundTrip(req)
}

// A server on the way to a token that accepts a request and never answers cost
// 20 s as well.
func TestOneHungTokenRequestFailsNoDial(t *testing.T) {
	for name, way := range tokenWays {
		t.Run(name, func(t *testing.T) {
			s := authtest.NewServer("admin", "login") // outside the bubble: it listens
			t.Cleanup(s.Close)
			opts := way.opts(s, t.TempDir())
			inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
				s.Tokens = map[string]string{"": w.Token(), authtest.AdminScope: w.Token(), authtest.CloudScope: authtest.CloudToken}
				internet := &firstHangs{RoundTripper: s.InProcess().Transport, path: way.path}
				only(w, internet, append(opts, w.told.options())...)
				d := took(func() {
					if err := w.dial(5 * time.Second); err != nil {
						t.Error(err)
					}
				})
				if n := internet.asked.Load(); n != 2 || d > 2*time.Second {
					t.Errorf("%d requests, Dial took %v", n, d)
				}
				w.wantCalls(2)
				w.wantHedges(map[string]int64{"token": 1})
			})
		})
	}
}
