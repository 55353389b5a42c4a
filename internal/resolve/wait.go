package resolve

import (
	"context"
	"math/rand/v2"
	"time"
)

// patience is how long a caller that has an answer from before waits for a
// look-up that began then.
func patience(ctx context.Context, began time.Time) time.Duration {
	d := maxPatience - time.Since(began)
	if deadline, ok := ctx.Deadline(); ok {
		d = min(d, time.Until(deadline)/2)
	}
	return d
}

// within returns ctx, ended also after d. Unlike [context.WithTimeout] it shows
// no deadline: a [refresh.Cache] would hurry for a caller who has little time,
// but this one has an answer.
func within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	short, cancel := context.WithCancel(context.WithoutCancel(ctx))
	if d <= 0 {
		cancel()
		return short, cancel
	}
	stop := context.AfterFunc(ctx, cancel)
	timer := time.AfterFunc(d, cancel)
	return short, func() {
		stop()
		timer.Stop()
		cancel()
	}
}

// sleep waits between two tries, some more or less. It reports false if there
// is no time for another.
func (r *Resolver) sleep(ctx context.Context, pause time.Duration) bool {
	pause = time.Duration(float64(pause) * (0.5 + rand.Float64()))
	if deadline, ok := ctx.Deadline(); ok {
		pause = min(pause, time.Until(deadline)/2)
	}
	if pause < minPause {
		return false
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
	case <-r.ctx.Done():
	}
	return false
}
