package refresh

import (
	"sync"
	"time"
)

// pace is the least time between two fetches that timers start, over all caches
// of a [Pacer].
const pace = time.Second

// Pacer spreads the background fetches of many caches, which would otherwise
// come in bursts: a thousand values that were first fetched together are due
// together. Nobody waits for these fetches. Its zero value is ready, and safe
// for concurrent use.
type Pacer struct {
	mu   sync.Mutex // guards next
	next time.Time  // when the next fetch may start
}

// reserve returns how long a fetch that is due now has to wait for its turn. It
// does not wait for longer than most: then it takes no turn and starts at once.
func (p *Pacer) reserve(now time.Time, most time.Duration) time.Duration {
	if p == nil {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	wait := max(0, p.next.Sub(now))
	if wait > most {
		return 0
	}
	p.next = now.Add(wait + pace)
	return wait
}
