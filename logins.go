package cloudsqlconn

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

const (
	mostLogins    = 100            // of an instance that are repeated
	loginsAtOnce  = 4              // of an instance
	loginsIdle    = 3 * time.Hour  // without a Dial nor a connection: a Dialer with many instances forgets them
	loginLasts    = 72 * time.Hour // it is repeated, without a connection: more than a weekend
	loginLead     = 5 * time.Minute
	loginSpread   = 3 * time.Minute  // what the lead is longer by at most
	loginLate     = 90 * time.Second // before the end, a login waits no longer for one of the program's own
	loginTimeout  = 10 * time.Second
	loginPause    = 30 * time.Second // after one that has failed; as long as the token has been expired, once it has
	mostLoginRest = 15 * time.Minute

	// sameToken is how far apart the ends of certificates are at most that have the
	// same login token in them: some sources compute its expiry anew each time.
	sameToken = time.Minute
)

// logins are the IAM logins to an instance that are repeated when there is a new
// login token.
type logins struct {
	connector *connector
	slots     chan struct{} // holds one element for each that is under way; made with the first login

	mu      sync.Mutex // guards everything below, and what the logins say it does
	all     map[loginKey]*login
	stopped bool
}

// loginKey tells logins apart. Each node of a read pool has a pooler of its own.
type loginKey struct {
	as   string
	host string // of a node; "": any address of the instance
}

// login is one that is repeated.
type login struct {
	of  *logins
	key loginKey

	// guarded by logins.mu
	to      target
	dial    dialConfig
	do      func(net.Conn) (again bool, err error)
	conns   int       // of the program that began with it, and are open
	used    time.Time // by the program
	told    time.Time // when the token expires that the server has seen last
	failed  int       // times in a row
	waiting bool      // for a newer token
	running bool
	timer   *time.Timer
}

// RepeatLogin has an IAM login repeated that has gone well over the connection: see
// [WithLoginAfterRefresh]. Driver packages call it. as tells logins apart, such as by
// user and database; opts are those of the Dial. do logs in over another connection,
// which it need not close, and returns soon after that has been closed. It says
// whether the login is to be repeated in future.
func (c *conn) RepeatLogin(as string, opts []DialOption, do func(net.Conn) (again bool, err error)) {
	to := c.connector
	dc, err := to.dialer.cfg.dial.with(opts)
	if err != nil || !to.key.iam || !dc.relogin {
		return
	}
	l := to.logins.add(c, as, dc, do)
	if l == nil {
		return
	}
	if before := c.login.Swap(l); before != nil {
		before.closed()
	}
	if c.closed.Load() && c.login.Swap(nil) == l {
		l.closed()
	}
}

// RepeatLogin has an IAM login repeated, unless the connection is a stream.
func (c eitherConn) RepeatLogin(as string, opts []DialOption, do func(net.Conn) (again bool, err error)) {
	if by, ok := c.Current().(interface {
		RepeatLogin(string, []DialOption, func(net.Conn) (bool, error))
	}); ok {
		by.RepeatLogin(as, opts, do)
	}
}

// add notes a login over c.
func (ls *logins) add(c *conn, as string, dc dialConfig, do func(net.Conn) (bool, error)) *login {
	to := target{name: c.connector.key.name, dialled: c.dialled, own: c.own}
	to.name.domain = c.domain
	key := loginKey{as: as}
	if len(c.info.Nodes) > 0 {
		key.host = c.host
	}
	if key.host != "" || typeOf(c.host, c.info) == "" { // only the DNS name leads there
		to.only = c.host
	}
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.stopped {
		return nil
	}
	l := ls.all[key]
	if l == nil {
		ls.roomLocked()
		l = &login{of: ls, key: key}
		ls.all[key] = l
	}
	l.to, l.dial, l.do = to, dc, do
	l.conns++
	l.used, l.told = time.Now().Round(0), c.info.Expiry
	l.failed, l.waiting = 0, false
	l.planLocked()
	return l
}

// roomLocked makes room for another login: the one that has not been used for the
// longest time is forgotten.
func (ls *logins) roomLocked() {
	if ls.all == nil {
		ls.all, ls.slots = map[loginKey]*login{}, make(chan struct{}, loginsAtOnce)
	}
	if len(ls.all) < mostLogins {
		return
	}
	var oldest *login
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

func (l *login) forgetLocked() {
	if l.of.all[l.key] == l {
		delete(l.of.all, l.key)
	}
	if l.timer != nil {
		l.timer.Stop()
	}
}

// closed is told that a connection which began with it has ended.
func (l *login) closed() {
	l.of.mu.Lock()
	defer l.of.mu.Unlock()
	l.conns--
	l.used = time.Now().Round(0)
}

// refreshed is told that there is a certificate that lasts until expiry. Logins that
// have waited for it are repeated.
func (ls *logins) refreshed(expiry time.Time) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.stopped {
		return
	}
	for _, l := range ls.all {
		left := time.Until(l.told)
		switch {
		case expiry.Sub(l.told) <= sameToken:
		case ls.connector.dialer.cfg.lazy:
			l.wakeLocked(0)
		case l.failed > 0 && left > 0: // it is tried again soon
		case l.waiting, left < loginLead:
			l.wakeLocked(max(0, left-loginLate)) // the program may log in by itself until then
		}
	}
}

// stop ends all that is planned. What is under way ends with the Dialer, or with the
// cache.
func (ls *logins) stop() {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.stopped = true
	for _, l := range ls.all {
		l.forgetLocked()
	}
}

// planLocked sets the timer.
func (l *login) planLocked() {
	if l.of.connector.dialer.cfg.lazy {
		return
	}
	left, pause := time.Until(l.told), loginPause+rand.N(loginPause/4)
	switch {
	case l.failed == 0 && !l.waiting:
		l.wakeLocked(left - min(loginLead+rand.N(loginSpread), left/4))
	case l.failed == 0 && left > 0:
		l.wakeLocked(left) // a refresh comes before that
	case left > 0:
		l.wakeLocked(min(pause, max(left/2, loginTimeout)))
	default:
		l.wakeLocked(min(max(pause, -left), mostLoginRest))
	}
}

func (l *login) wakeLocked(wait time.Duration) {
	if l.timer == nil {
		l.timer = time.AfterFunc(wait, l.wake)
		return
	}
	l.timer.Reset(wait)
}

// wake repeats the login.
func (l *login) wake() {
	if l.begin() {
		_ = l.of.connector.dialer.spawn(l.repeat) // the Dialer has been closed
	}
}

// begin reports whether the login is to be repeated.
func (l *login) begin() bool {
	l.of.mu.Lock()
	defer l.of.mu.Unlock()
	if l.conns == 0 && time.Since(l.used) > loginLasts {
		l.forgetLocked()
	}
	if l.running || l.of.all[l.key] != l || l.of.stopped {
		return false
	}
	l.running = true
	return true
}

// errNoNewToken says that a login can wait.
var errNoNewToken = errors.New("there is no new login token yet")

// repeat logs in, if there is a new token.
func (l *login) repeat() {
	c := l.of.connector
	select {
	case l.of.slots <- struct{}{}:
		defer func() { <-l.of.slots }()
	case <-c.dialer.ctx.Done():
		return
	}
	ctx, cancel := context.WithTimeout(c.dialer.ctx, loginTimeout)
	defer cancel()
	told, again, err := l.try(ctx)
	if c.dialer.ctx.Err() == nil && !errors.Is(err, errNoNewToken) {
		c.seen.loginRepeated(ctx, l.key.as, err)
	}
	l.ended(told, again, err)
}

// try logs in, and returns when the token expires that it has done that with.
func (l *login) try(ctx context.Context) (told time.Time, again bool, err error) {
	c := l.of.connector
	info, err := c.cache.Get(ctx) // also to have it kept fresh
	if err != nil {
		return told, true, c.dialer.newError(OpRefresh, c.String(), err)
	}
	l.of.mu.Lock()
	to, dial, do, last := l.to, l.dial, l.do, l.told
	l.of.mu.Unlock()
	switch {
	case info.Expiry.Sub(last) <= sameToken:
		return told, true, errNoNewToken
	case l.key.host != "" && typeOf(l.key.host, info) == "":
		return told, false, errNodeGone
	}
	conn, err := c.dialLogin(ctx, to, &dial)
	if err != nil {
		return told, true, err
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if again, err = do(conn); err != nil {
		return told, again, c.dialer.newError(OpLogin, c.String(), ended(ctx, err))
	}
	return conn.(interface{ expiry() time.Time }).expiry(), again, nil
}

var errNodeGone = errors.New("the node of the read pool is gone")

// dialLogin is a Dial of the Dialer's own.
func (c *connector) dialLogin(ctx context.Context, to target, dc *dialConfig) (net.Conn, error) {
	g := c.dialer.begin(ctx, dc.timeout)
	defer g.end()
	return c.dial(g, to, dc)
}

// expiry is when the login token in the connection's certificate expires.
func (c *conn) expiry() time.Time { return c.info.Expiry }

// ended is told how it went.
func (l *login) ended(told time.Time, again bool, err error) {
	l.of.mu.Lock()
	defer l.of.mu.Unlock()
	l.running = false
	switch {
	case l.of.stopped:
		return
	case !again:
		l.forgetLocked()
		return
	case err == nil:
		l.told, l.failed, l.waiting = told, 0, false
	case errors.Is(err, errNoNewToken):
		l.waiting = true
	default:
		l.failed++
	}
	l.planLocked()
}

// idle reports whether there are logins that a Dialer with many instances does not
// repeat any more.
func (ls *logins) idle(lastDial time.Time) bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return len(ls.all) > 0 && time.Since(lastDial) > loginsIdle
}
