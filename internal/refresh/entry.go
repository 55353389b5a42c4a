package refresh

import "time"

// entry is a value and its life, in wall-clock time: laptops sleep.
type entry[T any] struct {
	value       *T
	fetched     time.Time
	due         time.Time
	usableUntil time.Time // zero: for ever
	suspect     bool      // somebody could not use it; served only for want of better
}

func newEntry[T any](v *T, now, expiry time.Time) *entry[T] {
	e := &entry[T]{value: v, fetched: now.Round(0)}
	if expiry.IsZero() {
		return e
	}
	life := expiry.Sub(e.fetched)
	e.due = e.fetched.Add(dueAfter(life))
	e.usableUntil = expiry.Add(-margin(life)).Round(0)
	return e
}

func (e *entry[T]) usable(now time.Time) bool {
	return e != nil && e.value != nil && (e.usableUntil.IsZero() || now.Round(0).Before(e.usableUntil))
}

func (e *entry[T]) isDue(now time.Time) bool {
	return !e.usableUntil.IsZero() && !now.Round(0).Before(e.due)
}
