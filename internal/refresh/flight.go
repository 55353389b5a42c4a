package refresh

import (
	"context"
	"time"
)

// flight is a fetch in progress.
type flight struct {
	began  time.Time
	cancel context.CancelFunc
	forced bool // by somebody's bad luck
}

// suspended reports whether the machine has slept since the flight began.
func (f *flight) suspended(now time.Time, timeout time.Duration) bool {
	return suspended(now.Round(0).Sub(f.began.Round(0)), now.Sub(f.began), timeout)
}
