package admin

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"cloud.google.com/go/compute/metadata"
	"golang.org/x/oauth2"
	"google.golang.org/api/googleapi"

	"github.com/cloudsqlconn/cloudsqlconn/internal/auth"
)

const (
	maxTries   = 4
	firstPause = 200 * time.Millisecond

	// quotaPause is how long a refused quota is left alone when the answer
	// does not say.
	quotaPause = 5 * time.Second
)

// retry calls f until it succeeds, fails in a way that a moment's patience
// does not mend, or has been tried four times. It does not sleep after the
// last try.
func retry[T any](ctx context.Context, f func() (T, error)) (T, error) {
	pause := firstPause
	for try := 1; ; try++ {
		v, err := f()
		if err == nil || try == maxTries || ctx.Err() != nil || Terminal(err) || RetryAfter(err, time.Now()) > 0 {
			return v, err
		}
		timer := time.NewTimer(time.Duration(float64(pause) * (0.5 + rand.Float64())))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return v, err
		}
		pause *= 2
	}
}

// Terminal reports whether err will come again until a person changes
// something: a refused call, a wrong configuration, a reply without sense.
// Transport errors, quota, and faults of the server are not terminal.
func Terminal(err error) bool {
	var (
		api   *googleapi.Error
		token *oauth2.RetrieveError
		vm    *metadata.Error
		reply *ReplyError
		cfg   *ConfigError
		creds *auth.NotFoundError
	)
	switch {
	case errors.As(err, &reply), errors.As(err, &cfg), errors.As(err, &creds):
		return true
	case errors.As(err, &api):
		return terminalStatus(api.Code)
	case errors.As(err, &token):
		return token.Response != nil && terminalStatus(token.Response.StatusCode)
	case errors.As(err, &vm):
		return terminalStatus(vm.Code)
	}
	return false
}

func terminalStatus(code int) bool {
	return code >= 400 && code < 500 && code != http.StatusTooManyRequests && code != http.StatusRequestTimeout
}

// RetryAfter is how long the API asked to be left alone, as seconds or as a
// date. A refused quota (429) without a header counts as 5 s.
func RetryAfter(err error, now time.Time) time.Duration {
	var api *googleapi.Error
	if !errors.As(err, &api) {
		return 0
	}
	value := api.Header.Get("Retry-After")
	if seconds, err := strconv.Atoi(value); err == nil && seconds > 0 {
		return min(time.Duration(seconds), 24*60*60) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil && at.After(now) {
		return at.Sub(now)
	}
	if api.Code == http.StatusTooManyRequests {
		return quotaPause
	}
	return 0
}

func isCanceled(err error) bool { return errors.Is(err, context.Canceled) }
