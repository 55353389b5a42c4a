package auth

import (
	"net/http"
	"strconv"
	"time"
)

const (
	// maxRetryAfter bounds what a Retry-After can ask for: it may be a captive
	// portal's.
	maxRetryAfter = 10 * time.Minute

	// quotaPause is how long a server is left alone that says that a quota is
	// used up, and not for how long.
	quotaPause = 5 * time.Second
)

// RetryAfter is how long the server that has sent h asks to be left alone, in
// seconds or with a date, but for ten minutes at most. It is 0 if it does not.
func RetryAfter(h http.Header, now time.Time) time.Duration {
	value := h.Get("Retry-After")
	// Of an error, 0 or the greatest number is returned: both are right here.
	if seconds, _ := strconv.ParseInt(value, 10, 64); seconds > 0 {
		return time.Duration(min(seconds, int64(maxRetryAfter/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil && at.After(now) {
		return min(at.Sub(now), maxRetryAfter)
	}
	return 0
}
