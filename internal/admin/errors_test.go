package admin_test

import (
	"context"
	"errors"
	"io"
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

func TestErrorTexts(t *testing.T) {
	t.Parallel()
	cause := errors.New("the cause")
	for _, tt := range []struct {
		err  error
		want string
	}{
		{&admin.ReplyError{Field: "connectSettings.region", Problem: "is empty"}, "the Admin API's reply is unusable: connectSettings.region is empty"},
		{&admin.ReplyError{Field: "connectSettings.region", Problem: "is odd", Err: cause}, "the Admin API's reply is unusable: connectSettings.region is odd: the cause"},
		{&admin.ConfigError{Problem: "no client key"}, "no client key"},
		{&admin.ConfigError{Problem: "no client key", Err: cause}, "no client key: the cause"},
		{&admin.TokenError{Err: cause}, "access token: the cause"},
		{&admin.TokenError{Err: errors.New("a\r\n\tpage \x00\x1b[1mof text\xff\n")}, "access token: a page [1mof text"},
	} {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("%#v: text is %q, want %q", tt.err, got, tt.want)
		}
		if strings.Contains(tt.want, "the cause") != errors.Is(tt.err, cause) {
			t.Errorf("%#v does not unwrap to its cause", tt.err)
		}
	}
	long := (&admin.TokenError{Err: errors.New(strings.Repeat("ä", 10_000))}).Error()
	if len(long) > 1100 || !strings.HasSuffix(long, "ä…") {
		t.Errorf("a long text has %d bytes and ends in %q", len(long), long[len(long)-10:])
	}
}

func TestErrorsOfCallsTellNoSecrets(t *testing.T) {
	t.Parallel()
	// A debugging proxy shows what it has received.
	echo := func(text func(received string) string) answer {
		return func(r *http.Request) (*http.Response, error) {
			received := "Authorization: " + r.Header.Get("Authorization") + "\r\n\r\n"
			if r.Body != nil {
				b, _ := io.ReadAll(r.Body)
				received += string(b)
			}
			return status(400, text(received))(r)
		}
	}
	for name, proxy := range map[string]answer{
		"page":               echo(func(s string) string { return "<html><title>" + s + "</title></html>" }),
		"text":               echo(func(s string) string { return s }),
		"JSON":               echo(func(s string) string { return errorJSON(400, s) }),
		"cut off in a token": echo(func(s string) string { return strings.Repeat("x", 900) + s }),
		"longer than read":   echo(func(s string) string { return strings.Repeat("x", 64<<10-50) + s }),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachHalf(t, func(t *testing.T, h half) {
				err := fetchError(t.Context(), t, newClient(t, h.api(proxy)), true)
				var api *googleapi.Error
				if !errors.As(err, &api) || api.Code != 400 {
					t.Errorf("error is %v", err)
				}
				wantText(t, err, string(h)+": ")
				wantText(t, err, "400")
				if strings.Contains(err.Error(), "ya29") {
					t.Errorf("error tells a part of a token: %v", err)
				}
			})
		})
	}
}

func TestContextErrorOfFetchIsTheCallers(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := fetchError(ctx, t, newClient(t, &api{settings: hangs, cert: hangs}), true)
	if !errors.Is(err, context.Canceled) || admin.Terminal(err) {
		t.Errorf("error is %v", err)
	}
}
