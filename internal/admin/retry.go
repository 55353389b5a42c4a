package admin

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"syscall"
	"time"

	"cloud.google.com/go/compute/metadata"
	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn/internal/auth"
	"github.com/cloudsqlconn/cloudsqlconn/internal/googleapi"
)

const (
	maxTries   = 4
	firstPause = 200 * time.Millisecond

	// tryTimeout bounds one try, a call and its hedges, so that what is never
	// answered leaves time for another one.
	tryTimeout = 20 * time.Second

	// emulatorStart is how long an emulator that does not listen is waited for, give
	// or take a try: it may be starting.
	emulatorStart = 2 * time.Second

	// quotaPause is how long a refused quota is left alone when the answer
	// does not say.
	quotaPause = 5 * time.Second
)

// retry calls f until it succeeds, fails in a way that a moment's patience
// does not mend, as that an instance is not ready, or has been tried four times. An
// emulator that does not listen is tried until emulatorStart is over, and then its error is
// an [*AbsentError]. It does not sleep after the last try. The context of a try ends after
// tryTimeout.
func retry[T any](ctx context.Context, c *Client, f func(context.Context) (T, error)) (T, error) {
	began, pause := time.Now(), firstPause
	var before error // of the try before
	for try := 1; ; try++ {
		tryCtx, cancel := context.WithTimeout(ctx, tryTimeout)
		v, err := f(tryCtx)
		cancel()
		absent := c.isAbsent(err)
		if absent && time.Since(began) >= emulatorStart {
			return v, &AbsentError{err}
		}
		switch {
		case err == nil, Terminal(err), NotReady(err), RetryAfter(err, time.Now()) > 0:
			return v, err
		case ctx.Err() != nil && before != nil && errors.Is(err, ctx.Err()):
			return v, interrupted(ctx, before) // this try tells no more than that ctx has ended
		case ctx.Err() != nil:
			return v, interrupted(ctx, err)
		case try >= maxTries && !absent:
			return v, err
		case try >= maxTries:
			pause = firstPause
		}
		traceOf(ctx).failed(err)
		before = err
		timer := time.NewTimer(time.Duration(float64(pause) * (0.5 + rand.Float64())))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return v, interrupted(ctx, err)
		}
		pause *= 2
	}
}

// isAbsent reports whether err is a refused connection to an emulator, or a 404 that is
// none of the API's.
func (c *Client) isAbsent(err error) bool {
	code, _ := refusal(err)
	return c.cfg.Emulated && (errors.Is(err, syscall.ECONNREFUSED) || code == http.StatusNotFound && Stranger(err))
}

// sensible calls f, and once more if the reply made no sense: it may have been
// a proxy's, or cut short. One that makes none either is a lasting failure.
func sensible[T any](ctx context.Context, f func() (T, error)) (T, error) {
	v, err := f()
	if _, ok := errors.AsType[*ReplyError](err); !ok {
		return v, err
	}
	traceOf(ctx).failed(err)
	timer := time.NewTimer(firstPause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return f()
	case <-ctx.Done():
		return v, err
	}
}

// interrupted returns the error of a try that ctx ended, or after which it
// ended.
func interrupted(ctx context.Context, err error) error {
	if errors.Is(err, ctx.Err()) {
		return err
	}
	return fmt.Errorf("%w; last error: %w", ctx.Err(), err)
}

// Terminal reports whether err will come again until a person changes
// something: a refused call, a wrong configuration, a reply without sense, a
// source of useless tokens, an emulator that does not listen.
// Transport errors, quota, faults of the server, answers of others in its place and
// the state of an instance are not terminal.
func Terminal(err error) bool {
	var (
		reply     *ReplyError
		cfg       *ConfigError
		none      *auth.NotFoundError
		misfit    *auth.ConfigError
		source    *auth.OwnError
		noAccount metadata.NotDefinedError // the machine has no service account
		absent    *AbsentError
	)
	if errors.As(err, &absent) || errors.As(err, &reply) || errors.As(err, &cfg) || errors.As(err, &none) || errors.As(err, &misfit) || errors.As(err, &source) || errors.As(err, &noAccount) {
		return true
	}
	if Stranger(err) {
		return false
	}
	code, _ := refusal(err)
	return code >= 400 && code < 500 && code != http.StatusRequestTimeout && !NotReady(err) && !Quota(err)
}

// Quota reports whether err says that a quota is used up: a 429, or a 403 of
// the API with a reason that is about quota, not about permission.
func Quota(err error) bool {
	if code, _ := refusal(err); code == http.StatusTooManyRequests {
		return true
	}
	var api *googleapi.Error
	return errors.As(err, &api) && api.Code == http.StatusForbidden && slices.ContainsFunc(api.Errors, func(item googleapi.ErrorItem) bool {
		return item.Reason == "rateLimitExceeded" || item.Reason == "userRateLimitExceeded" || item.Reason == "quotaExceeded"
	})
}

// AskedFor is how long the API, or the token endpoint, asked to be left alone: as
// seconds or as a date, but for ten minutes at most. It is 0 if it did not.
func AskedFor(err error, now time.Time) time.Duration {
	_, header := refusal(err)
	return auth.RetryAfter(header, now)
}

// RetryAfter is how long the API, or the token endpoint, is left alone: for as long
// as it has asked, and for 5 s if it has refused a quota and asked for nothing.
func RetryAfter(err error, now time.Time) time.Duration {
	if wait := AskedFor(err, now); wait > 0 {
		return wait
	}
	if Quota(err) {
		return quotaPause
	}
	return 0
}

// refusal returns the status and the headers of the answer that err is about:
// the API's, that of a server on the way to a token, or the metadata server's.
// It returns 0 if there was none.
func refusal(err error) (code int, header http.Header) {
	var (
		refused *auth.RefusedError
		api     *googleapi.Error
		token   *oauth2.RetrieveError // of a caller's own source
		vm      *metadata.Error
	)
	switch {
	case errors.As(err, &refused):
		return refused.Code, refused.Header
	case errors.As(err, &api):
		return api.Code, api.Header
	case errors.As(err, &token) && token.Response != nil:
		return token.Response.StatusCode, token.Response.Header
	case errors.As(err, &vm):
		return vm.Code, nil
	}
	return 0, nil
}

func isCanceled(err error) bool { return errors.Is(err, context.Canceled) }
