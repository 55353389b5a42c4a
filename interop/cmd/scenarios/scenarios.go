package main

import (
	"net/http"
	"sync"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// scenario is something that goes wrong, and how it is measured what comes of
// it.
type scenario struct {
	name     string
	what     string // for the reader of the table
	settings settings
	instance cloudsqltest.Instance
	idle     bool     // has subjects wait for most of the time
	picture  *picture // that shows when things happen, or nil
	run      func(*world)
}

// scenarios are all of them: what goes well, then the API, the instance, its
// certificates, its names.
var scenarios = append([]scenario{
	{
		name: "nothing goes wrong",
		what: "A new client, and its first Dial.",
		run:  cold,
	},
	{
		name: "100 Dials at once",
		what: "A new client, and 100 Dials at the same time.",
		run: func(w *world) {
			w.begin()
			w.open()
			var wg sync.WaitGroup
			errs := make(chan error, 100)
			for range cap(errs) {
				wg.Go(func() {
					errs <- w.connect(dialLimit)
				})
			}
			wg.Wait()
			w.end()
			for range cap(errs) {
				w.count(<-errs)
			}
		},
	},
	{
		name: "one 503",
		what: "The first connectSettings is answered with 503, everything after that is good.",
		run: func(w *world) {
			w.firstCall(&cloudsqltest.Fault{Status: http.StatusServiceUnavailable, Times: 1})
		},
	},
	{
		name: "one TCP reset",
		what: "The connection of the first connectSettings is reset, everything after that is good.",
		run: func(w *world) {
			w.firstCall(&cloudsqltest.Fault{ResetAt: cloudsqltest.AtStart, Times: 1})
		},
	},
	{
		name: "API hangs while the certificate is good",
		what: "The certificate lives for 52 s, so that all clients want another one within the measured time. From the first Dial on, the API accepts requests and never answers. A Dial every 500 ms for 45 s, each with 5 s.",
		idle: true,
		run:  hangs,
	},
	{
		name:     "API hangs while the certificate is good, lazy refresh",
		what:     "The same, with lazy refresh. (With a certificate of an hour, this state begins when it is due for renewal: in its last four minutes with Google's.)",
		picture:  ofAPI,
		settings: settings{lazy: true},
		idle:     true,
		run:      hangs,
	},
	{
		name:    "429 with Retry-After",
		what:    "For 5 s the API answers each call with 429 and `Retry-After: 5`, after that it is good.",
		picture: ofAPI,
		run: func(w *world) {
			f := &cloudsqltest.Fault{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"5"}}}
			until := time.Now().Add(5 * time.Second)
			w.api(func(*http.Request) *cloudsqltest.Fault {
				if time.Now().After(until) {
					return nil
				}
				return f
			})
			w.begin()
			w.over = until
			w.open()
			w.recover()
			w.must("a 429", func() bool { return w.kit.Hits(f) > 0 })
		},
	},
	{
		name:    "403, then the role is granted",
		what:    "The API answers 403 while 200 Dials are made, one every 10 ms, and the role is granted after the last of them. The API calls include those during the 403; the time is from the grant on.",
		picture: ofAPI,
		run: func(w *world) {
			f := &cloudsqltest.Fault{Status: http.StatusForbidden}
			w.api(func(*http.Request) *cloudsqltest.Fault { return f })
			w.open()
			w.begin()
			w.series(200, 10*time.Millisecond, dialLimit)
			if w.result.Failed != 200 {
				panic(arrangement + "a Dial worked without the role")
			}
			w.api(good)
			w.faultOver()
			w.recover()
		},
	},
	{
		name: "the first of two waiting callers gives up",
		what: "The API takes 1 s. Caller A dials first, with 200 ms; caller B dials 100 ms later, with 10 s, so that both wait for the same certificate. The outcome is B's.",
		run:  firstGivesUp,
	},
	{
		name:     "the first of two waiting callers gives up, lazy refresh",
		what:     "The same, with lazy refresh.",
		settings: settings{lazy: true},
		run:      firstGivesUp,
	},
	{
		name:    "slow API, impatient callers",
		what:    "The API takes 150 ms, and each Dial has 100 ms. How many Dials fail depends on timing, and differs from run to run.",
		picture: ofAPI,
		run: func(w *world) {
			f := &cloudsqltest.Fault{Delay: 150 * time.Millisecond}
			w.api(func(*http.Request) *cloudsqltest.Fault { return f })
			w.begin()
			w.open()
			w.recoverWithin(100 * time.Millisecond)
			w.must("a slow call", func() bool { return w.kit.Hits(f) > 0 })
		},
	},
	{
		name:     "IAM login with tokens without expiry",
		what:     "The tokens do not say when they expire: those of an `oauth2.StaticTokenSource` with a bare token; of `--token` and `--login-token`; of an `OAuth2Client` with an access token alone; in Python and Java of credentials that set no expiry. Five Dials, one after the other.",
		settings: settings{iam: true, noExpiry: true},
		run: func(w *world) {
			w.begin()
			w.open()
			w.series(5, pause, dialLimit)
			w.end()
		},
	},
}, instanceScenarios...)

// good is an API where nothing goes wrong.
func good(*http.Request) *cloudsqltest.Fault { return nil }

// firstCall is a fault of the first connectSettings.
func (w *world) firstCall(f *cloudsqltest.Fault) {
	w.apiCall(cloudsqltest.ConnectSettings, f)
	w.begin()
	w.open()
	w.recover()
	w.must("the fault of the first call", func() bool { return w.kit.Hits(f) == 1 })
}

func hangs(w *world) {
	w.emulated.SetCertTTL(52 * time.Second)
	w.warm()
	f := &cloudsqltest.Fault{Hang: true}
	w.api(func(*http.Request) *cloudsqltest.Fault { return f })
	w.begin()
	for time.Since(w.began) < 45*time.Second {
		w.series(1, 500*time.Millisecond, 5*time.Second)
	}
	w.end()
	w.must("a call that hangs", func() bool { return w.kit.Hits(f) > 0 })
}

func firstGivesUp(w *world) {
	f := &cloudsqltest.Fault{Delay: time.Second}
	w.api(func(*http.Request) *cloudsqltest.Fault { return f })
	w.open()
	w.begin()
	var wg sync.WaitGroup
	wg.Go(func() {
		if w.connect(200*time.Millisecond) == nil {
			panic(arrangement + "caller A has not given up")
		}
	})
	<-time.After(100 * time.Millisecond)
	err := w.connect(dialLimit)
	w.end()
	w.count(err)
	wg.Wait()
}
