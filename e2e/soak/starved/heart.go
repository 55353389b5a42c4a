//go:build linux

package starved

import (
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// now is a clock that all processes of the machine share, which nobody sets.
func now() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // cannot fail
	return time.Duration(ts.Nano())
}

// heart measures the time in which this process runs: a goroutine beats as
// often as it gets to, and where it did not get to, nobody else could have been
// expected to. That leaves out all that starves a process, each without having
// to be known: signals that stop it, a machine that is busy with others, a
// hypervisor that is, and goroutines that keep the only processor to
// themselves. A call that hangs does not stop it.
type heart struct {
	mu  sync.Mutex // guards everything below
	ran spans
}

// run beats until ctx ends.
func (h *heart) run(ctx context.Context) {
	ticker := time.NewTicker(beatEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			h.mu.Lock()
			h.ran = h.ran.beat(now())
			h.mu.Unlock()
		case <-ctx.Done():
			return
		}
	}
}

// within returns how long the process ran between two moments.
func (h *heart) within(from, to time.Duration) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ran.within(from, to)
}

func (h *heart) all() spans {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.ran)
}
