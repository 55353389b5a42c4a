package refresh

import "time"

// Policy says how a [Cache] behaves. Its zero value refreshes ahead of time.
type Policy struct {
	// Lazy refreshes only when somebody asks; no timer is armed.
	Lazy bool

	// Timeout bounds one fetch, its own retries included. Default: 60 s.
	Timeout time.Duration

	// Pacer spreads the fetches that timers start over those of other caches.
	// Default: none.
	Pacer *Pacer

	// Judge says what a failed fetch means for the next one. Default: every
	// failure is transient.
	Judge func(error) Verdict
}

// Verdict is what a failed fetch means for the next one. The zero value is a
// transient failure.
type Verdict struct {
	// Terminal failures repeat until a person changes something: they are
	// remembered, and answered from memory.
	Terminal bool

	// RetryAfter is how long the source asked to be left alone.
	RetryAfter time.Duration

	// MaxPause bounds the pauses between attempts that somebody waits for, after
	// a failure that is known to pass. Zero: 30 s.
	MaxPause time.Duration
}

// The times are for metadata with its certificate, and for what the Admin API has said of
// DNS names, which internal/resolve gives a life of an hour. A certificate for IAM login
// ends with its token, which internal/auth uses again while loginReserve is left of it.
const (
	defaultTimeout = time.Minute

	minLife       = time.Second      // a value with less is as good as expired
	maxMargin     = 30 * time.Second // a value is not served in this last part of its life
	longLife      = 59 * time.Minute // from here on a value is due at half its life: what was issued for an hour comes with a little less
	refreshLead   = 4 * time.Minute  // before its expiry, one with less is due
	timerInterval = time.Minute      // between two fetches that a timer starts

	forEver = 100 * 365 * 24 * time.Hour // the life of a value without expiry
)

// margin is how long before its expiry a value stops being served, so that it
// outlives the handshake it is used for.
func margin(life time.Duration) time.Duration {
	return min(maxMargin, life/10)
}

// dueAfter is the age at which a value with this much life is due to be
// replaced.
func dueAfter(life time.Duration) time.Duration {
	if life >= longLife {
		return life / 2
	}
	return max(life-refreshLead, life*3/4)
}

// timerAfter is the age at which a timer replaces a value with this much life:
// when it is due, give or take a tenth, but with time left for the fetch. r is
// a random number in [0, 1).
func timerAfter(life time.Duration, r float64) time.Duration {
	due, end := dueAfter(life), life-margin(life)
	return between(due-due/10, min(due+due/10, due+(end-due)/2), r)
}

// firstTimerAfter is timerAfter for a value that a caller has fetched, and
// perhaps many callers at the same time: the second half of what would be due
// spreads what comes after that.
func firstTimerAfter(life time.Duration, r float64) time.Duration {
	due := dueAfter(life)
	return between(due/2, due, r)
}

// between is the point at r, in [0, 1), of the way from lo to hi.
func between(lo, hi time.Duration, r float64) time.Duration {
	return lo + time.Duration(r*float64(hi-lo))
}
