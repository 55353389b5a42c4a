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

const defaultTimeout = time.Minute
