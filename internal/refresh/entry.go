package refresh

import "time"

// entry is a value and its life, in wall-clock time: laptops sleep.
type entry[T any] struct {
	value   *T
	fetched time.Time
	life    time.Duration
	suspect bool // somebody could not use it; served only for want of better
}

func newEntry[T any](v *T, now, expiry time.Time) *entry[T] {
	e := &entry[T]{value: v, fetched: now.Round(0), life: forEver}
	if !expiry.IsZero() {
		e.life = min(expiry.Sub(e.fetched), forEver)
	}
	return e
}

func (e *entry[T]) usable(now time.Time) bool {
	return e != nil && e.age(now) < e.life-margin(e.life)
}

func (e *entry[T]) isDue(now time.Time) bool {
	return e.age(now) >= dueAfter(e.life)
}

func (e *entry[T]) age(now time.Time) time.Duration {
	return now.Round(0).Sub(e.fetched)
}

// left is how much longer the value can be used.
func (e *entry[T]) left(now time.Time) time.Duration {
	if !e.usable(now) {
		return 0
	}
	return e.life - margin(e.life) - e.age(now)
}
