package admin_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

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
