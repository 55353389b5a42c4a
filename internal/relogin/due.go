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

// another reports whether tokens that expire then are two. Should the clock be set back,
// the newer one can expire before the other.
func another(expiry, told time.Time) bool { return expiry.Sub(told).Abs() > sameToken }

// tellLocked notes that the server has seen a token.
func (l *Login) tellLocked(expiry time.Time) {
	l.told, l.ends = expiry.Round(0), time.Now().Add(time.Until(expiry))
	l.failed, l.waiting = 0, false
}

// leftLocked is how much longer the token is good that the server has seen last. One
// clock stands still while the machine sleeps, the other one may be set back.
func (l *Login) leftLocked() time.Duration {
	return min(time.Until(l.told), time.Until(l.ends))
}

// Refreshed is told that there is a login token that lasts until expiry. Logins that have
// waited for it are repeated.
func (ls *Logins) Refreshed(expiry time.Time) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.newest = expiry
	for _, l := range ls.all {
		left := l.leftLocked()
		switch {
		case !another(expiry, l.told):
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
	left, rest := l.leftLocked(), pause+rand.N(pause/4)
	switch {
	case l.failed == 0 && !l.waiting:
		l.wakeLocked(left - min(lead+rand.N(spread), left/4))
	case l.failed == 0 && another(l.of.newest, l.told): // it has come meanwhile
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
