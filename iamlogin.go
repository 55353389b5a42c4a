package cloudsqlconn

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/engine"
	"github.com/cloudsqlconn/cloudsqlconn/internal/failure"
	"github.com/cloudsqlconn/cloudsqlconn/internal/reach"
)

// IAMPrincipal returns the e-mail address of the account that the Dialer's
// credentials belong to, for [FormatIAMUser]. It is "" if the credentials do not
// say: those of users, of external accounts without a service account, and
// token sources of the caller's.
//
// The first call may read a file or ask the metadata server; ctx bounds the
// wait for that. The address is kept until the credentials are looked up again.
// See [ConnInfo.LoginPrincipal] about certificates made before that.
func (d *Dialer) IAMPrincipal(ctx context.Context) (string, error) {
	if d.ctx.Err() != nil {
		return "", &Error{Op: OpRefresh, Err: ErrDialerClosed}
	}
	if d.credentials == nil {
		return "", nil
	}
	email, err := d.credentials.Email(ctx)
	if err != nil {
		return "", d.reason("", d.newError(OpRefresh, "", &admin.TokenError{Err: err}))
	}
	return email, nil
}

// IAMAuthN reports whether a Dial with opts logs in with the caller's IAM
// identity. Driver packages call it to put the user's name into the right form.
func (d *Dialer) IAMAuthN(opts ...DialOption) bool {
	dc, err := d.cfg.dial.with(opts)
	return err == nil && dc.iam
}

// RepeatLogin has an IAM login repeated that has gone well over the connection: see
// [WithLoginAfterRefresh]. Driver packages call it. as tells logins apart, such as by
// user and database; opts are those of the Dial. do logs in over another connection,
// which it need not close, and returns soon after that has been closed. It says
// whether the login is to be repeated in future. Over a stream of SQL Data, and
// without IAM login, there is nothing to repeat.
func (i ConnInfo) RepeatLogin(as string, opts []DialOption, do func(net.Conn) (again bool, err error)) {
	if i.conn != nil {
		i.conn.repeatLogin(as, opts, do)
	}
}

func (c *conn) repeatLogin(as string, opts []DialOption, do func(net.Conn) (again bool, err error)) {
	to := c.connector
	dc, err := to.dialer.cfg.dial.with(opts)
	if err != nil || !to.key.iam || !dc.relogin {
		return
	}
	led := target{Resolution: Resolution{Instance: to.key.name, Domain: c.at.domain, own: c.at.own}, dialled: c.at.dialled}
	again := &loginAgain{connector: to, to: led, dial: dc, do: do}
	switch {
	case !reach.Has(c.info, c.at.host): // only the DNS name leads there
		again.to.only = c.at.host
	case len(c.info.Nodes) > 0: // each has a pooler of its own
		again.node, again.to.only = c.at.host, c.at.host
	}
	l := to.logins.Add(as, again.node, c.info.Expiry, again.login)
	if l == nil {
		return
	}
	if before := c.login.Swap(l); before != nil {
		before.Closed()
	}
	if c.closed.Load() && c.login.Swap(nil) == l {
		l.Closed()
	}
}

// loginAgain is how a login is repeated.
type loginAgain struct {
	connector *connector
	to        target // where the program's own led
	node      string // the host of a read pool's node; "": any of the instance
	dial      dialConfig
	do        func(net.Conn) (again bool, err error)
}

var (
	errNodeGone  = errors.New("the node of the read pool is gone")
	errElsewhere = errors.New("the DNS name leads to another instance now")
)

// login is a [relogin.Again].
func (l *loginAgain) login(ctx context.Context) (expiry time.Time, again bool, err error) {
	c := l.connector
	to, err := l.target(ctx)
	if err != nil {
		return expiry, false, err
	}
	conn, err := c.dialAgain(ctx, to, &l.dial)
	if err != nil {
		return expiry, true, err
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if again, err = l.do(conn); err != nil {
		return expiry, again, c.newError(OpLogin, failure.Ended(ctx, err))
	}
	return conn.(interface{ expiry() time.Time }).expiry(), again, nil
}

// target returns where to log in: where the DNS name leads now, or where it led if that
// cannot be found out. Its errors are final.
func (l *loginAgain) target(ctx context.Context) (target, error) {
	c := l.connector
	if info, err := c.known.Cache.Get(ctx); err == nil && l.node != "" && !reach.Has(info, l.node) {
		return target{}, errNodeGone
	}
	if l.to.Domain == "" {
		return l.to, nil
	}
	if now, err := c.dialer.target(ctx, l.to.Domain, nil); err == nil {
		if now.Instance != c.key.name {
			return target{}, errElsewhere
		}
		if l.node == "" {
			return now, nil
		}
	}
	return l.to, nil
}

// dialAgain is a Dial of the Dialer's own.
func (c *connector) dialAgain(ctx context.Context, to target, dc *dialConfig) (net.Conn, error) {
	g := c.dialer.dials.Begin(ctx, dc.timeout)
	defer g.End()
	return c.dial(g, to, dc)
}

// loginExpiry is when the login token expires in the certificate for the next
// connection. It also has that kept fresh.
func (c *connector) loginExpiry(ctx context.Context) (time.Time, error) {
	info, err := c.known.Cache.Get(ctx)
	if err != nil {
		return time.Time{}, c.newError(OpRefresh, err)
	}
	return info.Expiry, nil
}

// unknown is the error of a look whose the credentials are.
func (c *connector) unknown(err error) error {
	if err == nil {
		return nil
	}
	return c.dialer.reason(c.String(), c.newError(OpRefresh, &admin.TokenError{Err: err}))
}

// expiry is when the login token in the connection's certificate expires.
func (c *conn) expiry() time.Time { return c.info.Expiry }

// FormatIAMUser returns the database user name of an IAM principal, given as an
// e-mail address, for the engine that [Dialer.EngineVersion] names:
//
//   - PostgreSQL: the address, for service accounts without
//     ".gserviceaccount.com"
//   - MySQL: the part before "@"
//
// Addresses are lowercased, as Cloud SQL stores them. Names that are already in this
// form, and those for other engines, are returned unchanged.
func FormatIAMUser(engineVersion, principal string) string {
	return engine.Of(engineVersion).IAMUser(principal)
}
