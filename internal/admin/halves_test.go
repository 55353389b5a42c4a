package admin_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/googleapi"
)

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
