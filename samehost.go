package cloudsqlconn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
)

// location is where a connection by an address leads.
type location struct {
	dialled string // the name that was passed to Dial
	name    Name
	host    string // an address of the instance, or of a node of a read pool
	own     bool   // the name is a DNS name of Cloud SQL's own, or an alias of one
}

// WithSameHost dials the host that conn, a connection of the same Dialer, is on: in
// a read pool, the same node. It is for whatever has to reach the same server
// process, such as PostgreSQL's request to cancel a query.
//
// The name passed to Dial has to be the one that conn was dialled with, or that
// of its instance ([ErrConfig] otherwise). It is not resolved again: even if a DNS
// name means another instance by now, the connection is to conn's instance. No other
// host is tried. conn may have been closed. If it is a stream of SQL Data, it has no
// host, and the option has no effect.
func WithSameHost(conn net.Conn) DialOption {
	return dialOption(func(d *dialConfig) {
		c, ok := conn.(interface{ location() *location })
		if !ok {
			d.errs = append(d.errs, fmt.Errorf("WithSameHost: want a connection that Dial has returned, got a %T", conn))
			return
		}
		d.same = c.location()
	})
}

// target returns where a Dial of name leads.
func (d *Dialer) target(ctx context.Context, name string, same *location) (target, error) {
	switch {
	case same == nil:
		t, err := d.resolve(ctx, name)
		t.dialled = name
		return t, err
	case d.ctx.Err() != nil:
		return target{}, d.reason(name, ErrDialerClosed)
	case name != same.dialled && name != same.name.String():
		return target{}, asConfigError([]error{errors.New("WithSameHost: the connection was dialled with another name")})
	}
	return target{name: same.name, dialled: same.dialled, only: same.host, own: same.own}, nil
}

func (c *conn) location() *location { return &location{c.dialled, c.Instance(), c.host, c.own} }

func (c *streamConn) location() *location { return nil }

func (c eitherConn) location() *location {
	return c.Current().(interface{ location() *location }).location()
}

// Instance returns the instance that the connection is to.
func (c *conn) Instance() Name {
	n := c.connector.key.name
	n.domain = c.domain
	return n
}

// Instance returns the instance that the connection is to.
func (c *streamConn) Instance() Name { return c.connector.key.name }

// Instance returns the instance that the connection is to.
func (c eitherConn) Instance() Name {
	return c.Current().(interface{ Instance() Name }).Instance()
}

// InnerTLS is like [Dialer.InnerTLS], with the metadata that the connection was
// made with.
func (c *conn) InnerTLS() *tls.Config { return c.info.InnerTLS() }

// LoginPrincipal returns the account that the connection logs in as, as
// [Dialer.LoginPrincipal] does: the one in its client certificate.
func (c *conn) LoginPrincipal(ctx context.Context) (string, error) {
	email, err := c.info.Login.Email(ctx)
	return email, c.connector.unknown(err)
}

// LoginPrincipal returns the account that the connection logs in as: the one of
// the access token.
func (c *streamConn) LoginPrincipal(ctx context.Context) (string, error) {
	d := c.connector.dialer
	if !c.connector.key.iam || d.credentials == nil {
		return "", nil
	}
	email, err := d.credentials.Email(ctx)
	return email, c.connector.unknown(err)
}

// LoginPrincipal returns the account that the connection logs in as.
func (c eitherConn) LoginPrincipal(ctx context.Context) (string, error) {
	return c.Current().(interface {
		LoginPrincipal(context.Context) (string, error)
	}).LoginPrincipal(ctx)
}

// EngineVersion returns the engine and its version, and "" while the connection
// is a stream.
func (c eitherConn) EngineVersion() string {
	return c.Current().(interface{ EngineVersion() string }).EngineVersion()
}

func (c eitherConn) stream() {}

// unknown is the error of a look whose the credentials are.
func (c *connector) unknown(err error) error {
	if err == nil {
		return nil
	}
	return c.dialer.reason(c.String(), c.dialer.newError(OpRefresh, c.String(), &admin.TokenError{Err: err}))
}
