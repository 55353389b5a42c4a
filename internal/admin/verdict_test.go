package admin_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"cloud.google.com/go/compute/metadata"
	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/googleapi"
)

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
