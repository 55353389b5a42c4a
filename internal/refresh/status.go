package refresh

import (
	"slices"
	"strings"
	"time"
)

// Status is a snapshot of a [Cache].
type Status[T any] struct {
	Value    *T        // nil if there is none; it may have expired
	Fetched  time.Time // when Value was fetched
	Expiry   time.Time // of Value; zero: never
	Err      error     // the last fetch's error, nil if it succeeded
	Attempts int       // fetches that failed since the last success
	Fetching bool      // a fetch is in progress
}

// Attempt is a fetch that has ended.
type Attempt struct {
	Began    time.Time
	Duration time.Duration
	Forced   bool   // by Refresh or Invalidate, or by a Get after that
	Noted    int    // calls of Note, for the owner of the cache to know of what
	Err      string // the text of its error, cut if it is long; "": it succeeded
}

const (
	maxHistory = 16  // attempts that a cache remembers
	maxErr     = 500 // bytes of an error's text
)

// newAttempt describes a flight that has ended, with the cache's lock held. It
// keeps the text of err only: errors can hold on to whole replies.
func newAttempt(f *flight, now time.Time, err error) Attempt {
	a := Attempt{Began: f.began.Round(0), Duration: now.Sub(f.began), Forced: f.forced, Noted: f.noted}
	if err != nil {
		a.Err = err.Error()
		if len(a.Err) > maxErr {
			a.Err = strings.ToValidUTF8(a.Err[:maxErr], "") + "..."
		}
	}
	return a
}

// rememberLocked adds an attempt to the history, and forgets the oldest if
// there are too many.
func (c *Cache[T]) rememberLocked(a Attempt) {
	if len(c.history) == maxHistory {
		c.history = slices.Delete(c.history, 0, 1)
	}
	c.history = append(c.history, a)
}

// Status returns what the cache holds now, without fetching anything.
func (c *Cache[T]) Status() Status[T] {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Status[T]{Fetching: c.flight != nil}
	if c.cur != nil {
		s.Value, s.Fetched = c.cur.value, c.cur.fetched
		if c.cur.life < forEver {
			s.Expiry = c.cur.fetched.Add(c.cur.life)
		}
	}
	if c.fail != nil {
		s.Err, s.Attempts = c.fail.err, c.fail.attempts
	}
	return s
}

// History returns the last fetches that have ended, the latest last.
func (c *Cache[T]) History() []Attempt {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.history)
}
