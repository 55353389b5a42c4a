package cloudsqlconn

import (
	"context"
	"net"
	"sync/atomic"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/dialing"
	"github.com/cloudsqlconn/cloudsqlconn/internal/known"
	"github.com/cloudsqlconn/cloudsqlconn/internal/observe"
	"github.com/cloudsqlconn/cloudsqlconn/internal/reach"
	"github.com/cloudsqlconn/cloudsqlconn/internal/refresh"
	"github.com/cloudsqlconn/cloudsqlconn/internal/relogin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/streams"
)

// idleAfter is how long a connector is kept at least after its last Dial.
const idleAfter = 15 * time.Minute

// key tells connectors apart: a certificate for IAM login is another one.
type key struct {
	name Name
	iam  bool
}

// connector is everything about one instance: what is known about it, and how
// to reach it.
type connector struct {
	key     key
	dialer  *Dialer
	known   *known.Instance
	streams streams.Instance
	logins  *relogin.Logins
	seen    observe.Instance

	last          atomic.Pointer[location] // of a connection
	open          atomic.Int64             // connections
	read, written atomic.Int64             // bytes
}

// connector returns what knows the instance n, made at the first use.
func (d *Dialer) connector(n Name, iam bool) (*connector, error) {
	c, ok := d.connectors.Get(key{name: n, iam: iam})
	if !ok {
		return nil, d.reason(n.String(), ErrDialerClosed)
	}
	return c, nil
}

func (d *Dialer) newConnector(k key) *connector {
	inst := k.name.admin()
	c := &connector{key: k, dialer: d}
	c.seen = observe.New(d.telemetry.Instance(k.name.String(), k.iam), d.cfg.observe.log, k.name.String(), k.iam)
	c.logins = relogin.New(d.ctx, relogin.Config{Expiry: c.loginExpiry, Told: c.seen.LoggedInAgain, Lazy: d.cfg.lazy})
	c.known = known.New(known.Config{
		Fetch:     func(ctx context.Context) (*admin.Info, time.Time, error) { return d.admin.Fetch(ctx, inst, k.iam) },
		Policy:    refresh.Policy{Lazy: d.cfg.lazy, Timeout: d.cfg.refreshTimeout, Pacer: &d.pacer},
		Dials:     &d.dials,
		Seen:      c.seen,
		Signs:     d.cfg.signs(),
		Again:     func(ctx context.Context, failed *known.Error) { c.seen.Again(ctx, c.newError(failed.Op, failed.Err)) },
		Refreshed: c.logins.Refreshed,
		Changed:   c.streams.Forget,
	})
	return c
}

// String returns the instance's name.
func (c *connector) String() string { return c.key.name.String() }

// newError returns the error of a step that is about the instance.
func (c *connector) newError(op string, err error) *Error {
	return c.dialer.newError(op, c.String(), err)
}

// Close ends all that goes on for the instance, and waits for that.
func (c *connector) Close() {
	c.logins.Close()
	c.known.Cache.Close()
}

// Idle reports whether nobody has dialled the instance for a long time.
func (c *connector) Idle(lastDial time.Time) bool {
	return c.open.Load() == 0 && (time.Since(lastDial) > idleAfter && c.known.Cache.Idle() || c.logins.Idle(lastDial))
}

// dial connects by an address.
func (c *connector) dial(g *dialing.Dial, t target, dc *dialConfig) (net.Conn, error) {
	to := reach.Target{Types: dc.types, Hosts: t.Hosts, Only: t.only, Domain: t.Domain, AnyName: t.own || c.dialer.cfg.names.unlisted, Way: &dc.tcp}
	made, failed := c.known.Connect(g, &to)
	if failed != nil {
		return nil, c.newError(failed.Op, failed.Err)
	}
	return newConn(made, c, c.place(location{t.dialled, t.Instance, t.Domain, t.own, made.Host}), dc), nil
}

// place returns at. Connections in a row that lead to the same place share it.
func (c *connector) place(at location) *location {
	if last := c.last.Load(); last != nil && *last == at {
		return last
	}
	kept := at // at itself would be allocated for each of them
	c.last.Store(&kept)
	return &kept
}
