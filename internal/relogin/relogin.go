// Package relogin repeats logins when there is a new login token, so that somebody who
// keeps the token of the last login has one that is good. It decides which logins are
// repeated and when; it knows neither how one logs in, nor where.
package relogin

import (
	"context"
	"errors"
	"sync"
	"time"
)

const (
	most     = 100            // logins of an instance
	atOnce   = 4              // of them
	keepIdle = 3 * time.Hour  // without a Dial nor a connection: see [Logins.Idle]
	lasts    = 72 * time.Hour // a login is repeated, without a connection: more than a weekend
	timeout  = 10 * time.Second

	// sameToken is how far apart the ends of certificates are at most that have the
	// same login token in them: some sources compute its expiry anew each time.
	sameToken = time.Minute
)

// Config is what [Logins] have to know.
type Config struct {
	// Expiry returns when the login token expires that one logs in with now. It may
	// have to get one first.
	Expiry func(context.Context) (time.Time, error)

	// Told is told how a login has ended that was repeated. as is that of [Logins.Add].
	Told func(ctx context.Context, as string, err error)

	// Lazy: logins are repeated when there is a new token, at no other time.
	Lazy bool
}

// Logins are the logins to one instance. Its methods are safe for concurrent use.
type Logins struct {
	cfg    Config
	ctx    context.Context // ends at Close
	cancel context.CancelFunc
	slots  chan struct{}  // holds one element for each that is under way
	wg     sync.WaitGroup // counts those that are under way, or wait for a slot

	mu     sync.Mutex // guards everything below, and the logins
	all    map[key]*Login
	newest time.Time // when the token expires that Refreshed was told of last
	closed bool
}

type key struct{ as, host string }

// New returns no logins. They end with ctx.
func New(ctx context.Context, cfg Config) *Logins {
	ls := &Logins{cfg: cfg, all: map[key]*Login{}, slots: make(chan struct{}, atOnce)}
	ls.ctx, ls.cancel = context.WithCancel(ctx)
	return ls
}

// Again logs in over a connection of its own, which it closes. It returns soon after ctx
// ends. It says when the token expires that it has logged in with, and whether the login
// is to be repeated in future.
type Again func(ctx context.Context) (expiry time.Time, again bool, err error)

// Login is one that is repeated.
type Login struct {
	of  *Logins
	key key

	// guarded by Logins.mu
	do      Again
	conns   int       // of the program that began with it, and are open
	used    time.Time // by the program
	told    time.Time // when the token expires that the server has seen last, by the wall clock
	ends    time.Time // the same, by the monotonic clock
	failed  int       // times in a row
	waiting bool      // for a newer token
	running bool
	timer   *time.Timer
}

// Add has a login repeated that the program has made over a connection, with a token that
// lasts until expiry. as tells logins apart, such as by user and database, and so does
// host. do takes the place of what such a login was repeated by before. The caller tells
// [Login.Closed] when the connection ends. Add returns nil after Close.
func (ls *Logins) Add(as, host string, expiry time.Time, do Again) *Login {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.closed {
		return nil
	}
	k := key{as, host}
	l := ls.all[k]
	if l == nil {
		ls.roomLocked()
		l = &Login{of: ls, key: k}
		ls.all[k] = l
	}
	l.do = do
	l.conns++
	l.used = time.Now().Round(0)
	l.tellLocked(expiry)
	l.planLocked()
	return l
}

// roomLocked makes room for another login: the one that has not been used for the
// longest time is forgotten, if possible without a connection.
func (ls *Logins) roomLocked() {
	if len(ls.all) < most {
		return
	}
	var oldest *Login
	for _, l := range ls.all {
		switch {
		case oldest == nil, l.conns == 0 && oldest.conns > 0:
			oldest = l
		case (l.conns == 0) == (oldest.conns == 0) && l.used.Before(oldest.used):
			oldest = l
		}
	}
	oldest.forgetLocked()
}

func (l *Login) forgetLocked() {
	delete(l.of.all, l.key)
	if l.timer != nil {
		l.timer.Stop()
	}
}

// goneLocked reports whether it is not to be repeated any more.
func (l *Login) goneLocked() bool { return l.of.all[l.key] != l }

// Closed is told that a connection which began with it has ended.
func (l *Login) Closed() {
	l.of.mu.Lock()
	defer l.of.mu.Unlock()
	l.conns--
	l.used = time.Now().Round(0)
}

// Idle reports whether there are logins that need not be repeated, if there are too many
// instances: nobody has dialled the instance since long ago.
func (ls *Logins) Idle(lastDial time.Time) bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return len(ls.all) > 0 && time.Since(lastDial) > keepIdle
}

// Close ends all that is planned and under way, and waits for that.
func (ls *Logins) Close() {
	ls.mu.Lock()
	ls.closed = true
	for _, l := range ls.all {
		l.forgetLocked()
	}
	ls.mu.Unlock()
	ls.cancel()
	ls.wg.Wait()
}

// wake repeats the login.
func (l *Login) wake() {
	if !l.begin() {
		return
	}
	defer l.of.wg.Done()
	select {
	case l.of.slots <- struct{}{}:
		defer func() { <-l.of.slots }()
	case <-l.of.ctx.Done():
		return
	}
	ctx, cancel := context.WithTimeout(l.of.ctx, timeout)
	defer cancel()
	expiry, again, err := l.try(ctx)
	if l.of.ctx.Err() == nil && !errors.Is(err, errNoNewToken) {
		l.of.cfg.Told(ctx, l.key.as, err)
	}
	l.ended(expiry, again, err)
}

// begin reports whether the login is to be repeated.
func (l *Login) begin() bool {
	l.of.mu.Lock()
	defer l.of.mu.Unlock()
	if l.running || l.goneLocked() {
		return false
	}
	if l.conns == 0 && time.Since(l.used) > lasts {
		l.forgetLocked()
		return false
	}
	l.running = true
	l.of.wg.Add(1)
	return true
}

// errNoNewToken says that a login can wait.
var errNoNewToken = errors.New("there is no new login token yet")

// try logs in, if there is a new token.
func (l *Login) try(ctx context.Context) (expiry time.Time, again bool, err error) {
	newest, err := l.of.cfg.Expiry(ctx)
	if err != nil {
		return expiry, true, err
	}
	l.of.mu.Lock()
	do, told := l.do, l.told
	l.of.mu.Unlock()
	if !another(newest, told) {
		return expiry, true, errNoNewToken
	}
	return do(ctx)
}

// ended is told how it went.
func (l *Login) ended(expiry time.Time, again bool, err error) {
	l.of.mu.Lock()
	defer l.of.mu.Unlock()
	l.running = false
	switch {
	case l.goneLocked():
		return
	case !again:
		l.forgetLocked()
		return
	case err == nil:
		l.tellLocked(expiry)
	case errors.Is(err, errNoNewToken):
		l.failed, l.waiting = 0, true
	default:
		l.failed++
	}
	l.planLocked()
}
