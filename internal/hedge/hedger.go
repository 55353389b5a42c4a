package hedge

import (
	"slices"
	"sync"
	"time"
)

const (
	// firstDelay is how long a call is waited for while nothing is known of how
	// long calls take.
	firstDelay = 1500 * time.Millisecond

	// A delay is never shorter than minDelay: a stutter of the network, such as
	// a new connection or a lost packet, must not double the calls. Nor is it
	// longer than maxDelay, so that a hedge has time to be answered.
	minDelay = 500 * time.Millisecond
	maxDelay = 10 * time.Second

	// The delay is this many times the slowest but one of the calls that are
	// remembered: two calls show that a server is slow for everybody, so that
	// its load does not stay doubled, and one outlier changes nothing.
	patience   = 2
	remembered = 16
	fewest     = 8 // to be remembered, for anything to be known

	// maxHedges bounds the hedges of a Hedger in flight; others wait for their
	// turn. It is two for the two calls that are made at a time, and as many for
	// those of somebody else while the first are not answered either. A server
	// in trouble gets no more than that on top of what it has.
	maxHedges = 4
)

// Hedger learns how long calls take, and decides when to make one again. It is
// for calls that are alike, to one server. Its zero value is ready, and its
// methods are safe for concurrent use.
type Hedger struct {
	mu     sync.Mutex                // guards everything below; never held over a call
	took   [remembered]time.Duration // of the last calls that succeeded
	n      int                       // how many have succeeded
	quiet  time.Time                 // until then, no hedges
	slots  chan struct{}             // holds one element for each hedge in flight; made for the first
	flying int                       // calls
	idle   chan struct{}             // closed when none is flying
}

// Quiet is told that the server wants to be left alone for d: there are no
// hedges until that is over.
func (h *Hedger) Quiet(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if until := time.Now().Add(d); until.After(h.quiet) {
		h.quiet = until
	}
}

// Wait returns when no call is in flight, those included that were left behind,
// or a moment later: nothing can end one that ignores its context.
func (h *Hedger) Wait() {
	h.mu.Lock()
	idle, flying := h.idle, h.flying
	h.mu.Unlock()
	if flying == 0 {
		return
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-idle:
	case <-timer.C:
	}
}

// delay is how long a call is waited for before it is made again.
func (h *Hedger) delay() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.n < fewest {
		return firstDelay
	}
	took := h.took // a copy
	known := took[:min(h.n, remembered)]
	slices.Sort(known)
	return min(max(minDelay, patience*known[len(known)-2]), maxDelay)
}

// begin counts a call that begins now.
func (h *Hedger) begin() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.flying == 0 {
		h.idle = make(chan struct{})
	}
	h.flying++
	return time.Now()
}

// end is told that a call has ended, and whether it was answered with success.
func (h *Hedger) end(began time.Time, success bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if success {
		h.took[h.n%remembered] = time.Since(began)
		h.n++
	}
	if h.flying--; h.flying == 0 {
		close(h.idle)
	}
}

// hedges takes an element for each hedge, when it is time for that.
func (h *Hedger) hedges() chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.slots == nil {
		h.slots = make(chan struct{}, maxHedges)
	}
	return h.slots
}

// landed gives back what a hedge has taken.
func (h *Hedger) landed() { <-h.hedges() }

// quietFor is how much longer there are to be no hedges.
func (h *Hedger) quietFor() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Until(h.quiet)
}
