package admin_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"cloud.google.com/go/compute/metadata"
	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/googleapi"
)

// half is one of the two calls of a Fetch.
type half string

// api returns an API that answers this half with a, and the other genuinely.
func (h half) api(a answer) *api {
	if h == connectSettings {
		return &api{settings: a}
	}
	return &api{cert: a}
}

// other is the other half.
func (h half) other() half {
	if h == connectSettings {
		return ephemeralCert
	}
	return connectSettings
}

// want checks that so many calls were made for this half, and that they did
// not repeat the other.
func (h half) want(t *testing.T, a *api, calls int) {
	t.Helper()
	if n := len(a.received(string(h))); n != calls {
		t.Errorf("%d calls of %s, want %d", n, h, calls)
	}
	if n := len(a.received(string(h.other()))); n > 1 {
		t.Errorf("%d calls of %s, the half that did not fail", n, h.other())
	}
}

// eachHalf runs f for both calls, each in a bubble.
func eachHalf(t *testing.T, f func(t *testing.T, h half)) {
	for _, h := range []half{connectSettings, ephemeralCert} {
		t.Run(string(h), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { f(t, h) })
		})
	}
}

const htmlPage = "<html>\r\n<head><title>502 Bad Gateway</title></head>\n<body>\n<h1>502 Bad Gateway</h1>\n</body></html>\n"

// breakage is a body that breaks off.
func breakage(r *http.Request) (*http.Response, error) {
	resp, _ := genuine(r)
	resp.Body = io.NopCloser(io.MultiReader(io.LimitReader(resp.Body, 100), errReader{io.ErrUnexpectedEOF}))
	return resp, nil
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func TestTransientFailuresAreRetried(t *testing.T) {
	t.Parallel()
	for name, failure := range map[string]answer{
		"500 JSON":                refuse(500),
		"502 HTML":                status(502, htmlPage, "Content-Type", "text/html"),
		"503 text":                status(503, "server error", "Content-Type", "text/plain"),
		"503 nothing":             status(503, ""),
		"503 array":               status(503, "["+errorJSON(503, "try later")+"]"),
		"503 null":                status(503, `{"error":null}`),
		"408":                     refuse(408),
		"504":                     refuse(504),
		"reset":                   breaks(syscall.ECONNRESET),
		"EOF in the headers":      breaks(io.ErrUnexpectedEOF),
		"EOF in the body":         breakage,
		"truncated JSON":          status(200, settingsJSON()[:100]),
		"a page instead of JSON":  status(200, htmlPage, "Content-Type", "text/html"),
		"an empty body":           status(200, ""),
		"not modified, of a GET":  status(304, ""),
		"timeout of the client's": breaks(context.DeadlineExceeded),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachHalf(t, func(t *testing.T, h half) {
				a := h.api(inTurn(append(slices.Repeat([]answer{failure}, 3), genuine)...))
				mustFetch(t, a)
				h.want(t, a, 4)
			})
		})
	}
}

func TestPermanentFailureTakesBoundedTime(t *testing.T) {
	t.Parallel()
	eachHalf(t, func(t *testing.T, h half) {
		a := h.api(status(503, "server error"))
		c := newClient(t, a)
		began := time.Now()
		err := fetchError(t.Context(), t, c, false)
		took := time.Since(began)
		if took < 700*time.Millisecond || took > 2100*time.Millisecond {
			t.Errorf("Fetch took %v, want three pauses of 200, 400 and 800 ms, half as much more or less", took)
		}
		h.want(t, a, 4)
		if last := a.received(string(h))[3].at; !last.Equal(time.Now()) {
			t.Errorf("Fetch returned %v after its last try", time.Since(last))
		}
		wantText(t, err, string(h), "503", "server error")
		if admin.Terminal(err) {
			t.Errorf("%v is terminal", err)
		}
	})
}

func TestTerminalFailuresAreNotRetried(t *testing.T) {
	t.Parallel()
	for _, code := range []int{400, 401, 403, 404} {
		t.Run(http.StatusText(code), func(t *testing.T) {
			t.Parallel()
			eachHalf(t, func(t *testing.T, h half) {
				a := h.api(refuse(code))
				began := time.Now()
				err := fetchError(t.Context(), t, newClient(t, a), false)
				if took := time.Since(began); took != 0 {
					t.Errorf("Fetch took %v", took)
				}
				var api *googleapi.Error
				if !errors.As(err, &api) || api.Code != code || !admin.Terminal(err) || admin.RetryAfter(err, time.Now()) != 0 {
					t.Errorf("error is %v, want a terminal %d", err, code)
				}
				h.want(t, a, 1)
			})
		})
	}
}

func TestRefusedQuotaIsLeftToTheCaller(t *testing.T) {
	t.Parallel()
	for name, failure := range map[string]answer{
		"429":                  refuse(429, "Retry-After", "30"),
		"503 with Retry-After": refuse(503, "Retry-After", "30"),
		"429 of a proxy":       status(429, htmlPage, "Retry-After", "30"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachHalf(t, func(t *testing.T, h half) {
				a := h.api(failure)
				began := time.Now()
				err := fetchError(t.Context(), t, newClient(t, a), false)
				if took := time.Since(began); took != 0 {
					t.Errorf("Fetch took %v", took)
				}
				if got := admin.RetryAfter(err, time.Now()); got != 30*time.Second || admin.Terminal(err) {
					t.Errorf("%v: retry after %v, terminal %v", err, got, admin.Terminal(err))
				}
				h.want(t, a, 1)
			})
		})
	}
}

func TestQuotaIsNotPermission(t *testing.T) {
	t.Parallel()
	for _, reason := range []string{"rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded"} {
		for wait, header := range map[time.Duration][]string{5 * time.Second: nil, 30 * time.Second: {"Retry-After", "30"}} {
			t.Run(fmt.Sprint(reason, " ", wait), func(t *testing.T) {
				t.Parallel()
				eachHalf(t, func(t *testing.T, h half) {
					a := h.api(status(403, cloudsqltest.ErrorBody(403, "Quota exceeded", reason), header...))
					began := time.Now()
					err := fetchError(t.Context(), t, newClient(t, a), false)
					if took := time.Since(began); took != 0 {
						t.Errorf("Fetch took %v", took)
					}
					if got := admin.RetryAfter(err, time.Now()); got != wait || admin.Terminal(err) || !admin.Quota(err) {
						t.Errorf("%v: retry after %v, terminal %v, quota %v", err, got, admin.Terminal(err), admin.Quota(err))
					}
					h.want(t, a, 1)
				})
			})
		}
	}
}

func TestQuota(t *testing.T) {
	t.Parallel()
	because := func(code int, reasons ...string) error {
		err := &googleapi.Error{Code: code}
		for _, r := range reasons {
			err.Errors = append(err.Errors, googleapi.ErrorItem{Reason: r})
		}
		return fmt.Errorf("refresh: %w", err)
	}
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{io.EOF, false},
		{because(429), true},
		{retrieveError(429), true},
		{&metadata.Error{Code: 429}, true},
		{because(403), false},
		{because(403, "notAuthorized"), false},
		{because(403, "notAuthorized", "quotaExceeded"), true},
		{because(404, "quotaExceeded"), false},
		{retrieveError(403), false},
	} {
		if got := admin.Quota(tt.err); got != tt.want {
			t.Errorf("Quota(%v) = %v", tt.err, got)
		}
	}
}

func TestSilentAPIIsAskedAgain(t *testing.T) {
	t.Parallel()
	for name, silence := range map[string]answer{
		"from the start":           hangs,
		"in the body":              slowly(200),
		"in the body of a refusal": slowly(503),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachHalf(t, func(t *testing.T, h half) {
				a := h.api(inTurn(silence, genuine))
				began := time.Now()
				mustFetch(t, a)
				if took := time.Since(began); took != 1500*time.Millisecond {
					t.Errorf("Fetch took %v, want what an unknown API is waited for", took)
				}
				h.want(t, a, 2)
			})
		})
	}
}

func TestSilentAPIGetsThreeTriesInAMinute(t *testing.T) {
	t.Parallel()
	eachHalf(t, func(t *testing.T, h half) {
		a := h.api(hangs)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		err := fetchError(ctx, t, newClient(t, a), false)
		if took := time.Since(began); took != time.Minute {
			t.Errorf("Fetch took %v", took)
		}
		if !errors.Is(err, context.DeadlineExceeded) || admin.Terminal(err) {
			t.Errorf("error is %v", err)
		}
		h.want(t, a, 6) // each twice
	})
}

// slowly answers with a refusal whose body never ends.
func slowly(code int) answer {
	return func(r *http.Request) (*http.Response, error) {
		resp, _ := refuse(code)(r)
		resp.Body = io.NopCloser(ctxReader{r.Context()})
		return resp, nil
	}
}

type ctxReader struct{ ctx context.Context }

func (r ctxReader) Read([]byte) (int, error) {
	<-r.ctx.Done()
	return 0, r.ctx.Err()
}

func TestFailedHalfEndsTheOther(t *testing.T) {
	t.Parallel()
	for name, other := range map[string]answer{
		"which hangs":                 hangs,
		"which waits for its retry":   inTurn(after(49*time.Millisecond, refuse(503)), hangs),
		"which answers at that time":  after(50*time.Millisecond, refuse(503)),
		"which is slow in a refusal":  slowly(503),
		"which broke off, then waits": inTurn(after(49*time.Millisecond, breakage), hangs),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachHalf(t, func(t *testing.T, h half) {
				a := h.other().api(other)
				if h == connectSettings {
					a.settings = after(50*time.Millisecond, refuse(403))
				} else {
					a.cert = after(50*time.Millisecond, refuse(403))
				}
				began := time.Now()
				err := fetchError(t.Context(), t, newClient(t, a), false)
				want := 50 * time.Millisecond
				if h == ephemeralCert { // the metadata has the first word, for a while
					want += 500 * time.Millisecond
				}
				if took := time.Since(began); took != want {
					t.Errorf("Fetch took %v, want %v", took, want)
				}
				var api *googleapi.Error
				if !errors.As(err, &api) || api.Code != 403 || !admin.Terminal(err) {
					t.Errorf("error is %v, want the terminal 403", err)
				}
				if errors.Is(err, context.Canceled) {
					t.Errorf("error is %v, though nobody cancelled", err)
				}
			})
		})
	}
}

// Whichever of two refusals came first was told: one missing role gave two
// errors, in turns (issue 17, point 4).
func TestTwoRefusalsAreAlwaysToldAsTheSame(t *testing.T) {
	t.Parallel()
	for _, code := range []int{400, 401, 403, 404, 409, 429} {
		for _, took := range [][2]time.Duration{{0, 0}, {0, 100}, {100, 0}, {400, 0}, {0, 400}} {
			synctest.Test(t, func(t *testing.T) {
				a := &api{settings: after(took[0]*time.Millisecond, refuse(code)), cert: after(took[1]*time.Millisecond, refuse(code))}
				err := fetchError(t.Context(), t, newClient(t, a), false)
				if call, ok := errors.AsType[*admin.CallError](err); !ok || call.Call != "connectSettings" {
					t.Errorf("%d, after %v: error is %v, want that of connectSettings", code, took, err)
				}
			})
		}
	}
}

// Within a refresh nothing is repeated: the pauses are too short for a start, and
// the quota is not for that.
func TestAnInstanceThatIsNotReadyIsAskedForOnce(t *testing.T) {
	t.Parallel()
	eachHalf(t, func(t *testing.T, h half) {
		a := h.api(refuse(409))
		err := fetchError(t.Context(), t, newClient(t, a), false)
		if admin.Terminal(err) || !admin.NotReady(err) {
			t.Errorf("error is %v: terminal %v, not ready %v", err, admin.Terminal(err), admin.NotReady(err))
		}
		h.want(t, a, 1)
	})
}

func TestFailedHalfEndsTheLastTryOfTheOther(t *testing.T) {
	t.Parallel()
	eachHalf(t, func(t *testing.T, h half) {
		const late = 3 * time.Second // three pauses take less
		a := h.other().api(inTurn(refuse(503), refuse(503), refuse(503), slowly(503)))
		if h == connectSettings {
			a.settings = after(late, refuse(403))
		} else {
			a.cert = after(late, refuse(403))
		}
		err := fetchError(t.Context(), t, newClient(t, a), false)
		if n := len(a.received(string(h.other()))); n < 4 || n > 5 { // the last may have been made again by then
			t.Fatalf("%d calls in four tries", n)
		}
		var api *googleapi.Error
		if !errors.As(err, &api) || api.Code != 403 {
			t.Errorf("error is %v, want the 403", err)
		}
	})
}

func TestMetadataErrorWinsWhenBothFail(t *testing.T) {
	t.Parallel()
	var arrived sync.WaitGroup
	arrived.Add(2)
	together := func(a answer) answer {
		return func(r *http.Request) (*http.Response, error) {
			arrived.Done()
			arrived.Wait()
			return a(r)
		}
	}
	a := &api{settings: together(refuse(404)), cert: together(refuse(403))}
	err := fetchError(t.Context(), t, newClient(t, a), false)
	var api *googleapi.Error
	if !errors.As(err, &api) || api.Code != 404 {
		t.Errorf("error is %v, want the 404", err)
	}
}

func TestEndOfContextInsideFetch(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		failures []answer // in turn
		code     int      // of the last answer; 0: there was none
	}{
		"in a call":             {[]answer{hangs}, 0},
		"between tries":         {[]answer{refuse(503)}, 503},
		"in the second call":    {[]answer{refuse(503), hangs}, 503},
		"in the body of a page": {[]answer{slowly(502)}, 502},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachHalf(t, func(t *testing.T, h half) {
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
				if name == "in the second call" {
					ctx, cancel = context.WithTimeout(t.Context(), 400*time.Millisecond)
				}
				defer cancel()
				deadline, _ := ctx.Deadline()
				err := fetchError(ctx, t, newClient(t, h.api(inTurn(tt.failures...))), false)
				if !time.Now().Equal(deadline) {
					t.Errorf("Fetch returned %v after the end of its context", time.Since(deadline))
				}
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("error is %v, want the context's in it", err)
				}
				var api *googleapi.Error
				if tt.code != 0 && (!errors.As(err, &api) || api.Code != tt.code) {
					t.Errorf("error is %v, want the last answer in it", err)
				}
				if admin.Terminal(err) {
					t.Errorf("%v is terminal", err)
				}
			})
		})
	}
}

func TestTerminal(t *testing.T) {
	t.Parallel()
	wrap := func(err error) error { return fmt.Errorf("refresh: %w", errors.Join(io.EOF, err)) }
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{io.ErrUnexpectedEOF, false},
		{context.DeadlineExceeded, false},
		{syscall.ECONNREFUSED, false},
		{&googleapi.Error{Code: 400}, true},
		{&googleapi.Error{Code: 401}, true},
		{&googleapi.Error{Code: 403}, true},
		{&googleapi.Error{Code: 404}, true},
		{&googleapi.Error{Code: 408}, false},
		{&googleapi.Error{Code: 429}, false},
		{&googleapi.Error{Code: 500}, false},
		{&googleapi.Error{Code: 503}, false},
		{&googleapi.Error{Code: 304}, false},
		{&oauth2.RetrieveError{ErrorCode: "invalid_grant"}, false},
		{retrieveError(400), true},
		{retrieveError(429), false},
		{retrieveError(500), false},
		{&metadata.Error{Code: 403}, true},
		{&metadata.Error{Code: 404}, true},
		{&metadata.Error{Code: 500}, false},
		{metadata.NotDefinedError("instance/service-accounts/default/token"), true},
		{&admin.ReplyError{}, true},
		{&admin.ConfigError{}, true},
		{&admin.TokenError{Err: io.EOF}, false},
		{&admin.TokenError{Err: retrieveError(400)}, true},
		{&admin.TokenError{Err: &metadata.Error{Code: 404}}, true},
	} {
		if got := admin.Terminal(tt.err); got != tt.want {
			t.Errorf("Terminal(%v) = %v", tt.err, got)
		}
		if tt.err == nil {
			continue
		}
		if got := admin.Terminal(wrap(tt.err)); got != tt.want {
			t.Errorf("Terminal of %v, wrapped, is %v", tt.err, got)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	const most = 10 * time.Minute
	for _, tt := range []struct {
		value         string
		quota, outage time.Duration // with 429, with 503
	}{
		{"", 5 * time.Second, 0},
		{"30", 30 * time.Second, 30 * time.Second},
		{"1", time.Second, time.Second},
		{"0", 5 * time.Second, 0},
		{"-30", 5 * time.Second, 0},
		{"1.5", 5 * time.Second, 0},
		{"soon", 5 * time.Second, 0},
		{"600", most, most},
		{"601", most, most},
		{"86400", most, most},
		{"9223372036854775807", most, most},
		{"99999999999999999999999999", most, most},
		{"-99999999999999999999999999", 5 * time.Second, 0},
		{now.Add(90 * time.Second).Format(http.TimeFormat), 90 * time.Second, 90 * time.Second},
		{now.Add(90 * time.Second).Format(time.RFC850), 90 * time.Second, 90 * time.Second},
		{now.Format(http.TimeFormat), 5 * time.Second, 0},
		{now.Add(-time.Hour).Format(http.TimeFormat), 5 * time.Second, 0},
		{now.AddDate(100, 0, 0).Format(http.TimeFormat), most, most},
		{"Mon, 01 Jan 9999 00:00:00 GMT", most, most},
		{now.Format(time.RFC3339), 5 * time.Second, 0},
	} {
		header := http.Header{}
		if tt.value != "" {
			header.Set("Retry-After", tt.value)
		}
		for code, want := range map[int]time.Duration{429: tt.quota, 503: tt.outage} {
			err := fmt.Errorf("refresh: %w", &googleapi.Error{Code: code, Header: header})
			if got := admin.RetryAfter(err, now); got != want {
				t.Errorf("%d with Retry-After %q: %v, want %v", code, tt.value, got, want)
			}
		}
	}
	for _, err := range []error{nil, io.EOF, &googleapi.Error{Code: 503}, &metadata.Error{Code: 500}, &oauth2.RetrieveError{}} {
		if got := admin.RetryAfter(err, now); got != 0 {
			t.Errorf("RetryAfter(%#v) = %v", err, got)
		}
	}
	if got := admin.RetryAfter(&googleapi.Error{Code: 429}, now); got != 5*time.Second {
		t.Errorf("429 without any header: %v", got)
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, v := range []string{"", "0", "30", "-1", "1e9", "9223372036854775808", "Wed, 21 Oct 2026 07:28:00 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", " 5", "\x00"} {
		f.Add(v, 429, int64(1_780_000_000))
		f.Add(v, 503, int64(math.MaxInt32))
	}
	f.Fuzz(func(t *testing.T, value string, code int, now int64) {
		err := &googleapi.Error{Code: code, Header: http.Header{"Retry-After": {value}}}
		got := admin.RetryAfter(err, time.Unix(now, 0))
		if got < 0 || got > 10*time.Minute {
			t.Errorf("%v", got)
		}
		if code == 429 && got == 0 {
			t.Error("a refused quota may be asked again at once")
		}
		if strings.TrimSpace(value) == "" && code != 429 && got != 0 {
			t.Errorf("%v without a header", got)
		}
	})
}
