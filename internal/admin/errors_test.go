package admin_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/googleapi"
)

const forbidden = `{"error":{"code":403,"message":"No.","errors":[{"message":"No.","domain":"global","reason":"forbidden"}],
	"details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"SERVICE_DISABLED"}]}}`

func TestARefusedCallIsToldWithAllThatIsKnownOfIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &api{settings: status(403, forbidden, "Date", time.Now().Add(-5*time.Minute).UTC().Format(http.TimeFormat)), cert: hangs}
		c := newClient(t, a, func(cfg *admin.Config) {
			cfg.QuotaProject = "billing"
			cfg.Principal = func() string { return "me@example.com" }
		})
		err := fetchError(t.Context(), t, c, false)
		var (
			call *admin.CallError
			api  *googleapi.Error
		)
		if !errors.As(err, &call) || !errors.As(err, &api) {
			t.Fatalf("got %v", err)
		}
		if call.Call != "connectSettings" || call.Principal != "me@example.com" || call.QuotaProject != "billing" || call.ClockOffset != 5*time.Minute {
			t.Errorf("got %+v", call)
		}
		if text := call.Error(); strings.Contains(text, "SERVICE_DISABLED") || len(api.Details) != 1 {
			t.Errorf("the text %q is for people, the details %v for programs", text, api.Details)
		}
	})
}

func TestACertificateThatHasExpiredByTheLocalClockIsNoCertificate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		date := time.Now().Add(-2 * time.Hour)
		a := &api{
			settings: status(200, settingsJSON(), "Date", date.UTC().Format(http.TimeFormat)),
			cert:     after(time.Second, certificate(-time.Hour)),
		}
		err := fetchError(t.Context(), t, newClient(t, a), false)
		var expired *admin.ExpiredError
		if !errors.As(err, &expired) || admin.Terminal(err) {
			t.Fatalf("got %v, want a transient ExpiredError", err)
		}
		if expired.ClockOffset != 2*time.Hour || !expired.NotAfter.Equal(time.Now().Add(-time.Hour)) {
			t.Errorf("got %+v", expired)
		}
	})
}

func TestInfoTellsHowFarTheClockIsOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ahead := status(200, settingsJSON(), "Date", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))
		if got := mustFetch(t, &api{settings: ahead}).ClockOffset; got != -time.Hour {
			t.Errorf("the clock is off by %v, want an hour behind", got)
		}
		if got := mustFetch(t, &api{}).ClockOffset; got != 0 {
			t.Errorf("off by %v, from an API that does not tell", got)
		}
	})
}
