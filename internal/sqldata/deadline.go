package sqldata

import (
	"sync"
	"time"
)

// deadline is that of one direction. Its methods need the connection's lock.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

// set makes it t, and has those that wait look at it.
func (d *deadline) set(t time.Time, waiting *sync.Cond) {
	d.at = t
	waiting.Broadcast()
	left := time.Until(t)
	switch {
	case t.IsZero() || left <= 0:
		d.stop()
	case d.timer == nil:
		d.timer = time.AfterFunc(left, func() {
			waiting.L.Lock()
			defer waiting.L.Unlock()
			waiting.Broadcast()
			if left := time.Until(d.at); left > 0 && !d.at.IsZero() {
				d.timer.Reset(left) // the wall clock has been set back
			}
		})
	default:
		d.timer.Reset(left)
	}
}

// over reports whether it has passed.
func (d *deadline) over() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
	}
}
