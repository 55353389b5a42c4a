package relogin

import (
	"math/rand/v2"
	"time"
)

const (
	lead      = 5 * time.Minute  // before the token expires that the server has seen last
	spread    = 3 * time.Minute  // what the lead is longer by at most
	late      = 90 * time.Second // before the end, a login waits no longer for one of the program's own
	pause     = 30 * time.Second // after one that has failed; as long as the token has been expired, once it has
	mostPause = 15 * time.Minute
)

// Refreshed is told that there is a login token that lasts until expiry. Logins that have
// waited for it are repeated.
func (ls *Logins) Refreshed(expiry time.Time) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.newest = expiry
	for _, l := range ls.all {
		left := time.Until(l.told)
		switch {
		case expiry.Sub(l.told) <= sameToken:
		case ls.cfg.Lazy:
			l.wakeLocked(0)
		case l.failed > 0 && left > 0: // it is tried again soon
		case l.waiting, left < lead:
			l.wakeLocked(max(0, left-late)) // the program may log in by itself until then
		}
	}
}

// planLocked sets the timer.
func (l *Login) planLocked() {
	if l.of.cfg.Lazy {
		return
	}
	left, rest := time.Until(l.told), pause+rand.N(pause/4)
	switch {
	case l.failed == 0 && !l.waiting:
		l.wakeLocked(left - min(lead+rand.N(spread), left/4))
	case l.failed == 0 && l.of.newest.Sub(l.told) > sameToken: // it has come meanwhile
		l.wakeLocked(max(left-late, time.Second))
	case l.failed == 0 && left > 0:
		l.wakeLocked(left) // a refresh comes before that
	case left > 0:
		l.wakeLocked(min(rest, max(left/2, timeout)))
	default:
		l.wakeLocked(min(max(rest, -left), mostPause))
	}
}

func (l *Login) wakeLocked(wait time.Duration) {
	if l.timer == nil {
		l.timer = time.AfterFunc(wait, l.wake)
		return
	}
	l.timer.Reset(wait)
}
