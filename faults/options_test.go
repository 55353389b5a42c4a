package faults_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

func response(code int) *http.Response {
	return &http.Response{StatusCode: code, Status: http.StatusText(code)}
}

func TestADialFuncThatReturnsNothingIsAnError(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		_, err := w.dialer.Dial(t.Context(), testInstance, cloudsqlconn.WithDialFunc(func(context.Context, string, string) (net.Conn, error) {
			return nil, nil
		}))
		if err == nil || !strings.Contains(err.Error(), "WithDialFunc") {
			t.Errorf("got %v", err)
		}
	})
}

func TestDialNamesWrongOptions(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		for want, opt := range map[string]cloudsqlconn.DialOption{
			"option 0 is nil":     nil,
			"WithDialTimeout":     cloudsqlconn.WithDialTimeout(-1),
			`unknown type "IPV7"`: cloudsqlconn.WithIPTypes("IPV7"),
		} {
			if e := w.wantError(cloudsqlconn.ErrConfig, time.Second, opt); !strings.Contains(e.Error(), want) {
				t.Errorf("error %q does not tell %q", e, want)
			}
			if err := w.dialer.Warmup(t.Context(), testInstance, opt); !errors.Is(err, cloudsqlconn.ErrConfig) {
				t.Errorf("Warmup: got %v, want ErrConfig", err)
			}
		}
		w.wantCalls(0)
	})
}

func TestOptionsReachTheAdminAPI(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		w.wantDial()
		for _, r := range w.Requests() {
			if got := r.Header.Get("X-Goog-User-Project"); got != "billing" {
				t.Errorf("quota project %q, want billing", got)
			}
			if ua := r.Header.Get("User-Agent"); !strings.Contains(ua, "cloudsqlconn/") || !strings.Contains(ua, "shop/1.2 batch/3") {
				t.Errorf("user agent %q", ua)
			}
		}
	}, cloudsqlconn.WithQuotaProject("billing"), cloudsqlconn.WithUserAgent("shop/1.2"), cloudsqlconn.WithUserAgent("batch/3"))
}

func TestOtherKeysThanRSAAreUpToTheAPI(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		if err := w.dial(time.Second); err == nil || !strings.Contains(err.Error(), "not an RSA key") {
			t.Fatalf("got %v, want the API's refusal", err)
		}
	}, cloudsqlconn.WithPrivateKey(key))
	t.Run("allowed", func(t *testing.T) {
		inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
			w.AllowAnyKey = true
			w.wantDial()
		}, cloudsqlconn.WithPrivateKey(key))
	})
}

func TestWarmupSpares(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{DatabaseVersion: "MYSQL_8_4"}, func(t *testing.T, w *world) {
		if err := w.dialer.Warmup(t.Context(), testInstance); err != nil {
			t.Fatal(err)
		}
		w.fault.Store(&cloudsqltest.Fault{Hang: true})
		w.wantDial()
		v, err := w.dialer.EngineVersion(t.Context(), testInstance)
		if v != "MYSQL_8_4" || err != nil {
			t.Errorf("EngineVersion: %q, %v", v, err)
		}
		if err := w.dialer.Warmup(t.Context(), "nonsense"); !errors.Is(err, cloudsqlconn.ErrBadName) {
			t.Errorf("Warmup: got %v, want ErrBadName", err)
		}
		w.wantCalls(2)
	})
}
