package cloudsqltest

import "time"

// Pooler is managed connection pooling with IAM login. For each user and database
// it keeps the token that it has seen last, in the certificate of the client that
// logged in. A login is checked against the token kept before, and its own token is
// kept as soon as it is answered, whatever the answer is: if the earlier token has
// expired, the login is refused with SQLSTATE 08P01, and the next login succeeds if
// the refused one's token is good. A client that hangs up before it is answered has
// changed nothing. A client that logs in after each refresh of its certificate, while
// the earlier token is good, never sees this.
//
// Connections are neither shared nor limited: each has its own to the backend. The
// text of the refusal is the kit's.
type Pooler struct {
	// Expiry returns when a token expires. It is called once for each login, from
	// many goroutines at once. Default: an hour after the pooler has first seen
	// the token for the user and the database.
	Expiry func(token string) time.Time
}

type pooledLogin struct{ user, database string }

type pooledToken struct {
	token  string
	expiry time.Time
}

// pooled reports whether the token kept from before a login has expired. keep keeps
// that of the login.
func (p *Proxy) pooled(user, database, token string) (expired bool, keep func()) {
	now := time.Now()
	next := pooledToken{token, now.Add(time.Hour)}
	if f := p.cfg.Pooler.Expiry; f != nil {
		next.expiry = f(token)
	}
	key := pooledLogin{user, database}
	p.mu.Lock()
	defer p.mu.Unlock()
	before, known := p.kept[key]
	if known && before.token == token && p.cfg.Pooler.Expiry == nil {
		next.expiry = before.expiry
	}
	if expired = known && !now.Before(before.expiry); expired {
		p.counts.Expired++
	}
	return expired, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.kept == nil {
			p.kept = map[pooledLogin]pooledToken{}
		}
		p.kept[key] = next
	}
}

// pool is what the pooler does with a login.
func (l *loginCheck) pool(v verdict) {
	expired, keep := l.pooled(v.user, v.database)
	if expired {
		keep()
		l.refuse(poolerRefusal(v.user))
		return
	}
	l.answered.Store(&keep)
	l.passed = true
}

// poolerRefusal is an ErrorResponse.
func poolerRefusal(user string) []byte {
	return postgresFatal("08P01", `the pooler's IAM token for user "`+clean(user)+`" has expired`)
}
