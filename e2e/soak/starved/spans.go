package starved

import (
	"slices"
	"time"
)

// span is a stretch of time, on the clock of [now].
type span struct{ From, To time.Duration }

// spans are stretches of time that do not overlap, in their order.
type spans []span

// within returns how much of the time from one moment to another they cover.
func (s spans) within(from, to time.Duration) (sum time.Duration) {
	i, _ := slices.BinarySearchFunc(s, from, func(one span, from time.Duration) int { return int(one.To - from) })
	for _, one := range s[i:] {
		if one.From >= to {
			break
		}
		sum += max(0, min(one.To, to)-max(one.From, from))
	}
	return sum
}

// beatEvery is how often a process shows that it runs.
const beatEvery = 5 * time.Millisecond

// beat adds that the process has run at a moment: since the beat before, if
// that came about in time, and otherwise for as long as a beat is worth.
func (s spans) beat(at time.Duration) spans {
	if last := len(s) - 1; last >= 0 && at-s[last].To <= 2*beatEvery {
		s[last].To = at
		return s
	}
	return append(s, span{at - beatEvery, at})
}
