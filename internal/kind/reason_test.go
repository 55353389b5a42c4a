package kind_test

import (
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/googleapi"
	"github.com/cloudsqlconn/cloudsqlconn/internal/kind"
	"github.com/cloudsqlconn/cloudsqlconn/internal/refresh"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata"
	"github.com/cloudsqlconn/cloudsqlconn/internal/streams"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/testmain"
)

func TestMain(m *testing.M) { os.Exit(testmain.Run(m)) }

func TestTheReasonThatAnAnswerGives(t *testing.T) {
	t.Parallel()
	older := []googleapi.ErrorItem{{Reason: "accessNotConfigured"}, {Reason: "other"}}
	newer := []any{"odd", map[string]any{"links": 1}, map[string]any{"reason": "SERVICE_DISABLED"}}
	for _, tt := range []struct {
		err  error
		want string
	}{
		{nil, ""},
		{&googleapi.Error{Code: 403}, ""},
		{&googleapi.Error{Errors: older}, "accessNotConfigured"},
		{&googleapi.Error{Errors: older, Details: newer}, "SERVICE_DISABLED"},
		{&googleapi.Error{Errors: older, Details: newer[:2]}, "accessNotConfigured"},
		{&googleapi.Error{Errors: []googleapi.ErrorItem{{Reason: "two\nlines"}}}, ""},
		{&googleapi.Error{Errors: []googleapi.ErrorItem{{Reason: fmt.Sprintf("%0101d", 1)}}}, ""},
		{&sqldata.StatusError{Reason: "RECONNECT"}, "RECONNECT"},
		{&streams.CoolingError{Err: &sqldata.StatusError{Reason: "RECONNECT"}}, "RECONNECT"},
	} {
		if got := kind.Reason(fmt.Errorf("refresh: %w", tt.err)); got != tt.want {
			t.Errorf("%#v: got %q, want %q", tt.err, got, tt.want)
		}
	}
}

func TestHowLongAServiceAsksToBeLeftAlone(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	after := func(value string) error {
		return &googleapi.Error{Code: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {value}}}
	}
	for _, tt := range []struct {
		err  error
		want time.Duration
	}{
		{nil, 0},
		{&googleapi.Error{Code: http.StatusTooManyRequests}, 0}, // it does not say
		{after("30"), 30 * time.Second},
		{after(now.Add(time.Minute).Format(http.TimeFormat)), time.Minute},
		{&refresh.Failure{Err: after("30"), Age: 10 * time.Second}, 20 * time.Second},
		{&refresh.Failure{Err: after("30"), Age: time.Hour}, 0},
		{&sqldata.StatusError{RetryAfter: 7 * time.Second}, 7 * time.Second},
		{&streams.CoolingError{Left: 3 * time.Second, Err: &sqldata.StatusError{RetryAfter: 7 * time.Second}}, 3 * time.Second},
		{&streams.CoolingError{Left: 3 * time.Second, Err: &sqldata.StatusError{}}, 0}, // our own pause
	} {
		if got := kind.RetryAfter(fmt.Errorf("refresh: %w", tt.err), now); got != tt.want {
			t.Errorf("%v: got %v, want %v", tt.err, got, tt.want)
		}
	}
}
