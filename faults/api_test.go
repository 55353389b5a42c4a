package faults_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/googleapi"
)

var lazy = cloudsqlconn.WithLazyRefresh()

// bothStrategies runs a test with refreshes ahead of time, and lazily.
func bothStrategies(t *testing.T, cfg cloudsqltest.Instance, test func(t *testing.T, w *world)) {
	t.Run("ahead", func(t *testing.T) { inWorld(t, cfg, test) })
	t.Run("lazy", func(t *testing.T) { inWorld(t, cfg, test, lazy) })
}

func status(code int) *cloudsqltest.Fault { return &cloudsqltest.Fault{Status: code} }

// F2
func TestFirstDialAfterASleepWaitsForTheNetwork(t *testing.T) {
	bothStrategies(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		w.wantDial()
		w.fault.Store(&cloudsqltest.Fault{ResetAt: cloudsqltest.AtStart})
		time.Sleep(2 * time.Hour)
		time.AfterFunc(5*time.Second, func() { w.fault.Store(nil) })
		w.wantDial()
		w.wantFaults()
	})
}

// F3, F4
func TestNonsensicalRepliesAreNamed(t *testing.T) {
	field := func(name string) func([]byte) []byte { // sets one field to a JSON value
		key, value, _ := strings.Cut(name, "=")
		return func(body []byte) []byte {
			return bytes.Replace(body, []byte(`"`+key+`":`), []byte(`"`+key+`":`+value+`,"was":`), 1)
		}
	}
	for _, tt := range []struct {
		name, call string
		alter      func([]byte) []byte
		want       error
		text       string
	}{
		{"server CA null", cloudsqltest.ConnectSettings, field("serverCaCert=null"), nil, "connectSettings.serverCaCert.cert is empty"},
		{"server CA PEM empty", cloudsqltest.ConnectSettings, field(`cert=""`), nil, "connectSettings.serverCaCert.cert is empty"},
		{"server CA PEM garbage", cloudsqltest.ConnectSettings, field(`cert="garbage"`), nil, "connectSettings.serverCaCert.cert has no readable PEM certificate"},
		{"wrong backend", cloudsqltest.ConnectSettings, field(`backendType="FIRST_GEN"`), cloudsqlconn.ErrConfig, "backend type FIRST_GEN"},
		{"wrong region", cloudsqltest.ConnectSettings, field(`region="us-east1"`), cloudsqlconn.ErrConfig, "use my-project:us-east1:my-db"},
		{"no addresses", cloudsqltest.ConnectSettings, field(`ipAddresses=[]`), cloudsqlconn.ErrNoAddress, "no address of the types [PUBLIC PRIVATE PSC]"},
		{"null addresses", cloudsqltest.ConnectSettings, field(`ipAddresses=[null,null]`), cloudsqlconn.ErrNoAddress, "no address of the types [PUBLIC PRIVATE PSC]"},
		{"empty certificate reply", cloudsqltest.GenerateEphemeralCert, func([]byte) []byte { return []byte("{}") }, nil, "generateEphemeralCert.ephemeralCert.cert is empty"},
		{"certificate null", cloudsqltest.GenerateEphemeralCert, field("ephemeralCert=null"), nil, "generateEphemeralCert.ephemeralCert.cert is empty"},
		{"certificate garbage", cloudsqltest.GenerateEphemeralCert, field(`cert="garbage"`), nil, "generateEphemeralCert.ephemeralCert.cert is not PEM"},
		{"not JSON", cloudsqltest.ConnectSettings, func([]byte) []byte { return []byte("<html>") }, nil, "invalid character"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
				w.OnRequest = func(r *http.Request) *cloudsqltest.Fault {
					if !strings.Contains(r.URL.Path, tt.call) {
						return nil
					}
					w.faults.Add(1)
					return &cloudsqltest.Fault{Alter: tt.alter}
				}
				err := w.dial(time.Minute)
				w.wantFaults()
				if err == nil || !strings.Contains(err.Error(), tt.text) {
					t.Errorf("got error %v, want one with %q", err, tt.text)
				}
				if tt.want != nil && !errors.Is(err, tt.want) {
					t.Errorf("got error %v, want %v", err, tt.want)
				}
			})
		})
	}
}

func TestUnknownCAModeAndNullEntriesAreHarmless(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{CAMode: "SOME_FUTURE_CA"}, func(t *testing.T, w *world) {
		w.fault.Store(&cloudsqltest.Fault{Alter: func(b []byte) []byte {
			return bytes.Replace(b, []byte(`"ipAddresses":[`), []byte(`"dnsNames":[null],"nodes":[null],"ipAddresses":[null,`), 1)
		}})
		w.wantDial()
		w.wantFaults()
	})
}

// F5
func TestAWaiterThatGivesUpHurtsNobody(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		w.fault.Store(&cloudsqltest.Fault{Delay: time.Second})
		parallel(2, func(i int) {
			if i == 0 {
				if err := w.dial(100 * time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("impatient waiter: got error %v", err)
				}
			} else if err := w.dial(10 * time.Second); err != nil {
				t.Errorf("patient waiter: %v", err)
			}
		})
		w.wantCalls(2)
	})
}

// F6
func TestCallersWhoGiveUpEarlyAreServedSoon(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		w.fault.Store(&cloudsqltest.Fault{Delay: 150 * time.Millisecond})
		dials := 0
		for err := errors.New(""); err != nil; dials++ {
			err = w.dial(100 * time.Millisecond)
		}
		if dials < 2 || dials > 3 {
			t.Errorf("got a connection at dial %d, want 2 or 3", dials)
		}
		w.wantCalls(2)
	})
}

// F7
func TestRefusedCallsAreRemembered(t *testing.T) {
	for code, sentinel := range map[int]error{403: cloudsqlconn.ErrPermission, 404: cloudsqlconn.ErrNotFound, 429: nil} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			bothStrategies(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
				w.fault.Store(status(code))
				patience := 20 * time.Second
				if code == 429 { // a caller with more time waits for its turn
					patience = 5 * time.Millisecond
				}
				for range 1000 {
					var err error
					if d := took(func() { err = w.dial(patience) }); d > 5*time.Millisecond {
						t.Fatalf("Dial took %v", d)
					}
					var api *googleapi.Error
					var e *cloudsqlconn.Error
					if !errors.As(err, &api) || api.Code != code || !errors.As(err, &e) || e.Hint == "" {
						t.Fatalf("got error %v with hint %q", err, e.Hint)
					}
					if sentinel != nil && !errors.Is(err, sentinel) {
						t.Fatalf("got error %v, want %v", err, sentinel)
					}
					time.Sleep(10 * time.Millisecond)
				}
				w.wantFaults()
				if n := w.calls(); n > 6 {
					t.Errorf("%d Admin API calls, want 6 at the most", n)
				}
				w.fault.Store(nil)
				time.Sleep(35 * time.Second)
				w.wantDial()
			})
		})
	}
}

// A 403 can mean that a quota is used up, and that passes.
func TestAUsedUpQuotaIsNoLackOfPermission(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		w.fault.Store(&cloudsqltest.Fault{Status: 403, Body: cloudsqltest.ErrorBody(403, "Quota exceeded", "rateLimitExceeded")})
		err := w.dial(time.Second)
		var e *cloudsqlconn.Error
		if errors.Is(err, cloudsqlconn.ErrPermission) || !errors.As(err, &e) || !strings.Contains(e.Hint, "quota") {
			t.Errorf("got %v", err)
		}
		w.wantFaults()
		w.fault.Store(nil)
		w.wantDial()
	})
}

// F8
func TestRetryAfterIsObeyed(t *testing.T) {
	quota := &cloudsqltest.Fault{Status: 429, Header: http.Header{"Retry-After": {"30"}}}
	t.Run("cold", func(t *testing.T) {
		bothStrategies(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
			w.fault.Store(quota)
			start := time.Now()
			for time.Since(start) < 29*time.Second {
				if err := w.dial(500 * time.Millisecond); err == nil {
					t.Fatal("Dial succeeded without a certificate")
				}
				time.Sleep(time.Second)
			}
			w.wantFaults()
			if n := w.calls(); n > 2 {
				t.Errorf("%d Admin API calls, want 2 at the most", n)
			}
			w.fault.Store(nil)
			w.wantDial()
		})
	})
	t.Run("warm", func(t *testing.T) {
		bothStrategies(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
			w.wantDial()
			w.fault.Store(quota)
			time.Sleep(57 * time.Minute) // the certificate is due, and good for two and a half minutes more
			for range 20 {
				w.wantDial()
				time.Sleep(time.Second)
			}
			w.wantFaults()
		})
	})
}

// F11
func TestServerFaultsAreRetried(t *testing.T) {
	for _, f := range []cloudsqltest.Fault{
		{Status: 503},
		{Status: 502, Body: "<html>Bad Gateway</html>"},
		{Status: 500, Body: "server error"},
	} {
		t.Run(fmt.Sprint(f.Status), func(t *testing.T) {
			inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
				w.OnRequest = firstOfEach(w, 3, f)
				w.wantDial()
				w.wantFaults()
			})
		})
	}
}

// F12
func TestABrokenAPIConnectionIsRetried(t *testing.T) {
	for name, f := range map[string]cloudsqltest.Fault{
		"reset at start":   {ResetAt: cloudsqltest.AtStart},
		"reset in headers": {ResetAt: cloudsqltest.InHeaders},
		"reset in body":    {ResetAt: cloudsqltest.InBody},
		"EOF at start":     {CutAt: cloudsqltest.AtStart},
		"EOF in headers":   {CutAt: cloudsqltest.InHeaders},
		"EOF in body":      {CutAt: cloudsqltest.InBody},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
				w.OnRequest = firstOfEach(w, 1, f)
				w.wantDial()
				w.wantFaults()
			})
		})
	}
}

// firstOfEach makes the first n requests of each call fail.
func firstOfEach(w *world, n int, f cloudsqltest.Fault) func(*http.Request) *cloudsqltest.Fault {
	seen := make(chan map[string]int, 1)
	seen <- map[string]int{}
	return func(r *http.Request) *cloudsqltest.Fault {
		m := <-seen
		defer func() { seen <- m }()
		if m[r.URL.Path]++; m[r.URL.Path] > n {
			return nil
		}
		w.faults.Add(1)
		return &f
	}
}

// F17
func TestAHangingAPIIsNotWaitedForLongerThanTheCallerWants(t *testing.T) {
	bothStrategies(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		w.fault.Store(&cloudsqltest.Fault{Hang: true})
		for _, patience := range []time.Duration{100 * time.Millisecond, 10 * time.Second} {
			if d := took(func() { w.wantError(context.DeadlineExceeded, patience) }); d < patience || d > patience+20*time.Millisecond {
				t.Errorf("Dial with %v took %v", patience, d)
			}
		}
		w.wantCalls(4) // one attempt, still hanging, both of its calls made a second time
		time.Sleep(time.Minute)
		w.fault.Store(nil)
		w.wantDial()

		w.fault.Store(&cloudsqltest.Fault{Hang: true})
		time.Sleep(57 * time.Minute)
		if d := took(func() { w.wantDial() }); d > 0 {
			t.Errorf("Dial with a usable certificate took %v", d)
		}
		w.wantFaults()
	})
}

// F18
func TestServesTheOldCertificateWhileTheAPIIsDown(t *testing.T) {
	bothStrategies(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		w.wantDial()
		w.fault.Store(&cloudsqltest.Fault{ResetAt: cloudsqltest.AtStart})
		for end := time.Now().Add(59 * time.Minute); time.Now().Before(end); time.Sleep(29 * time.Second) {
			w.wantDial()
		}
		w.wantFaults()
	})
}

// However many callers there are, and whatever their deadlines.
func TestALongOutageIsNotAnsweredWithAStorm(t *testing.T) {
	bothStrategies(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		w.fault.Store(status(503))
		for end := time.Now().Add(10 * time.Minute); time.Now().Before(end); {
			parallel(10, func(int) {
				if _, err := w.dialer.Dial(context.Background(), testInstance); err == nil {
					t.Error("Dial succeeded without a certificate")
				}
			})
		}
		// An attempt is four tries of two calls. Growing pauses make it less than one in seven seconds.
		if n := w.calls() / 8; n < 20 || n > 80 {
			t.Errorf("%d attempts in ten minutes, want 20 to 80", n)
		}
		w.fault.Store(nil)
		w.wantDial()
	})
}

// F19
func TestRecoversWhenTheAPIIsBackAfterExpiry(t *testing.T) {
	bothStrategies(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		w.wantDial()
		w.fault.Store(status(503))
		for range 20 {
			time.Sleep(5 * time.Minute)
			_ = w.dial(time.Second)
		}
		if err := w.dial(time.Second); err == nil {
			t.Fatal("Dial succeeded although the certificate has expired")
		}
		w.fault.Store(nil)
		w.wantDial()
		w.wantFaults()
	})
}

// F26
func TestARevokedRoleCostsLittleAndIsFoundRestored(t *testing.T) {
	bothStrategies(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		w.wantDial()
		w.fault.Store(status(403))
		time.Sleep(24 * time.Hour)
		if n := w.calls(); n > 150 {
			t.Errorf("%d Admin API calls, want 150 at the most", n)
		}
		w.wantError(cloudsqlconn.ErrPermission, 20*time.Second)
		w.fault.Store(nil)
		time.Sleep(35 * time.Second)
		w.wantDial()
		w.wantFaults()
	})
}

// F34
func TestAHundredDialsAtOnceShareOneRefresh(t *testing.T) {
	bothStrategies(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		w.fault.Store(&cloudsqltest.Fault{Delay: time.Second})
		parallel(100, func(int) {
			if err := w.dial(10 * time.Second); err != nil {
				t.Error(err)
			}
		})
		w.wantCalls(2)
	})
}

// F38
func TestAShortRefreshTimeoutIsNoHotLoop(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		w.fault.Store(&cloudsqltest.Fault{Hang: true})
		for range 100 {
			_ = w.dial(100 * time.Millisecond)
		}
		w.wantFaults()
		if n := w.calls(); n > 30 { // an attempt a second at the most, of two calls
			t.Errorf("%d Admin API calls in ten seconds", n)
		}
	}, cloudsqlconn.WithRefreshTimeout(time.Millisecond))
}
