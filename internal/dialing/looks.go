package dialing

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// slowRest is the pause after a look before a Dial that is only slow is worth
	// another one.
	slowRest = 10 * time.Second

	// inARow is how many Dials in a row without an answer are a silence, which is
	// worth a look soon: from soonest after the last one, doubling up to latest, and
	// beginning anew after a minute without. The first look at a silence comes soon in
	// any case, if that is twice as long as those that answers have ended of late: why
	// the instance was silent then says nothing of why it is now.
	inARow   = 3
	soonest  = time.Second
	latest   = 30 * time.Second
	newStory = time.Minute
	ofLate   = 10 * time.Second

	// Fewer may be a caller's who was short of time: after a look for them comes
	// a pause that doubles from slowRest up to longestRest.
	longestRest = 5 * time.Minute
)

// Looks decides when an instance that does not answer is worth a look: a request
// for fresh metadata, since it may have moved. Each look is taken for one in vain
// until Found is called. Its methods are safe for concurrent use.
type Looks struct {
	silent atomic.Int32 // Dials without an answer, since the last good one; it changes under mu

	mu      sync.Mutex    // guards everything below
	last    time.Time     // of all looks; zero: there was none, or it was not in vain
	urgent  int           // looks for inARow Dials, since the last minute without
	weak    int           // looks for fewer, in a row
	began   time.Time     // the first of the Dials that silent counts
	looked  bool          // at their silence
	ended   time.Time     // the silence before
	longest time.Duration // of the silences of late
}

// Answered is told of a connection to the instance.
func (l *Looks) Answered() {
	if l.silent.Load() == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.silent.Swap(0) >= inARow {
		l.ended = time.Now()
		l.longest = max(l.longest, l.ended.Sub(l.began))
	}
}

// wait is how long a Dial that is slow has to wait for a look.
func (l *Looks) wait() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.untilLocked(slowRest)
}

// slow is told of a Dial that is slow, and reports whether to look.
func (l *Looks) slow() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lookLocked(slowRest)
}

// Unanswered is told of a Dial that has ended without an answer, and reports
// whether to look.
func (l *Looks) Unanswered() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	row := l.silent.Add(1)
	if row == 1 {
		l.began, l.looked = time.Now(), false
		if time.Since(l.ended) > ofLate {
			l.longest = 0
		}
	}
	switch since := time.Since(l.last); {
	case since > 2*longestRest:
		l.urgent, l.weak = 0, 0
	case since > newStory:
		l.urgent = 0
	}
	n, rest := &l.weak, doubled(slowRest, longestRest, l.weak)
	if row >= inARow {
		n, rest = &l.urgent, doubled(soonest, latest, l.urgent)
		if !l.looked && time.Since(l.began) > 2*l.longest {
			rest = soonest
		}
	}
	if !l.lookLocked(rest) {
		return false
	}
	l.looked = row >= inARow
	*n++
	return true
}

// doubled is d, doubled n-1 times, but no more than most.
func doubled(d, most time.Duration, n int) time.Duration {
	for ; n > 1 && d < most; n-- {
		d *= 2
	}
	return min(d, most)
}

// untilLocked is how much of a pause after the last look is left.
func (l *Looks) untilLocked(rest time.Duration) time.Duration {
	if l.last.IsZero() {
		return 0
	}
	return rest - time.Since(l.last)
}

func (l *Looks) lookLocked(rest time.Duration) bool {
	if l.untilLocked(rest) > 0 {
		return false
	}
	l.last = time.Now()
	return true
}

// Found says that the instance has moved.
func (l *Looks) Found() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last, l.urgent, l.weak = time.Time{}, 0, 0
	l.longest = 0
	l.silent.Store(0)
}
