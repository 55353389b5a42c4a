package refresh

import "time"

// Status is a snapshot of a [Cache].
type Status[T any] struct {
	Value    *T        // nil if there is none; it may have expired
	Fetched  time.Time // when Value was fetched
	Err      error     // the last fetch's error, nil if it succeeded
	Attempts int       // fetches that failed since the last success
}

// Status returns what the cache holds now, without fetching anything.
func (c *Cache[T]) Status() Status[T] {
	c.mu.Lock()
	defer c.mu.Unlock()
	var s Status[T]
	if c.cur != nil {
		s.Value, s.Fetched = c.cur.value, c.cur.fetched
	}
	if c.fail != nil {
		s.Err, s.Attempts = c.fail.err, c.fail.attempts
	}
	return s
}
