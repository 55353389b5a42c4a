// Package registry keeps what is made for a key when somebody first asks for it, and lets
// go of it when nobody has for a long time. It knows nothing of what that is but whether
// it is idle.
package registry

import (
	"sync"
	"time"
)

// Entry is what is kept.
type Entry interface {
	// Idle reports whether it can be let go; asked is when somebody last asked for
	// it. It is called with a lock held, and must not wait.
	Idle(asked time.Time) bool

	// Close ends all that goes on for it, and waits for that.
	Close()
}

// few is how many entries a Registry has before it looks for some that are idle.
const few = 64

// Registry has one entry for each key. Its methods are safe for concurrent use.
type Registry[K comparable, E Entry] struct {
	create func(K) E
	wg     sync.WaitGroup // counts entries that are let go

	mu      sync.Mutex     // guards everything below
	all     map[K]*kept[E] // nil after Close
	sweepAt int            // number of entries at which to look for idle ones
}

type kept[E Entry] struct {
	entry E
	asked time.Time // when somebody last asked for it
}

// New returns a Registry without entries. create makes one; it is called with a lock
// held, and must not wait.
func New[K comparable, E Entry](create func(K) E) *Registry[K, E] {
	return &Registry[K, E]{create: create, all: map[K]*kept[E]{}, sweepAt: few}
}

// Get returns the entry of a key, made if there is none. After Close, ok is false.
func (r *Registry[K, E]) Get(key K) (entry E, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all == nil {
		return entry, false
	}
	k := r.all[key]
	if k == nil {
		r.sweepLocked()
		k = &kept[E]{entry: r.create(key)}
		r.all[key] = k
	}
	k.asked = time.Now()
	return k.entry, true
}

// sweepLocked lets go of entries that are idle, now and then.
func (r *Registry[K, E]) sweepLocked() {
	if len(r.all) < r.sweepAt {
		return
	}
	for key, k := range r.all {
		if k.entry.Idle(k.asked) {
			// Nothing is in flight; should something have begun just now, it may
			// need the lock.
			r.wg.Go(k.entry.Close)
			delete(r.all, key)
		}
	}
	r.sweepAt = max(few, 2*len(r.all))
}

// All returns the entries, in no order.
func (r *Registry[K, E]) All() []E {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]E, 0, len(r.all))
	for _, k := range r.all {
		all = append(all, k.entry)
	}
	return all
}

// Close closes all entries, and waits for those that were let go before. There are
// none any more then. It can be called again.
func (r *Registry[K, E]) Close() {
	r.mu.Lock()
	all := r.all
	r.all = nil
	r.mu.Unlock()
	for _, k := range all {
		k.entry.Close()
	}
	r.wg.Wait()
}
