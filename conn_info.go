package cloudsqlconn

import (
	"context"
	"crypto/tls"
	"errors"
	"net"

	"github.com/cloudsqlconn/cloudsqlconn/internal/reach"
)

// ConnInfo describes a connection that Dial has returned, by the metadata that it
// was made with. Its methods are safe for concurrent use.
type ConnInfo struct {
	Instance      Name
	Domain        string // the DNS name that the instance was found by, or ""
	EngineVersion string // as Dialer.EngineVersion returns it; "" for SQL Data, which does not tell
	IPType        IPType // of the address; "" for SQL Data, and for an address that only the DNS name has
	SQLData       bool   // it is a stream of SQL Data

	conn dialConn
}

// dialConn is a connection that Dial has returned.
type dialConn interface {
	net.Conn

	describe() ConnInfo
	location() *location // nil: none
	innerTLS(context.Context) (*tls.Config, error)
	loginPrincipal(context.Context) (string, error)
	exchangeMetadata() bool
	repeatLogin(as string, opts []DialOption, do func(net.Conn) (again bool, err error))
}

// mostWrapped is in how many others a connection of Dial's is looked for.
const mostWrapped = 32

// unwrap returns the connection of Dial's that conn is, or is around.
func unwrap(conn net.Conn) (dialConn, bool) {
	for range mostWrapped {
		switch c := conn.(type) {
		case dialConn:
			return c, true
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return nil, false
		}
	}
	return nil, false
}

// InfoOf returns what is known about conn, a connection that Dial has returned, or
// one around it that has a method NetConn, as a [tls.Conn] has; ok is false for any
// other. conn may have been closed. A connection of SQLDataPrefer that goes on by
// an address has an IPType and an EngineVersion from then on.
func InfoOf(conn net.Conn) (info ConnInfo, ok bool) {
	c, ok := unwrap(conn)
	if !ok {
		return ConnInfo{}, false
	}
	return c.describe(), true
}

// InnerTLS returns the configuration of a TLS session that the database itself
// speaks inside the connection, as SQL Server can be set to. It verifies the server
// as the connection's does, against the server CA in the metadata that the connection
// was made with. SQL Data has none: then the Dialer's own are used, which may have to
// be fetched, for no longer than ctx lasts. The zero ConnInfo is an [ErrConfig].
func (i ConnInfo) InnerTLS(ctx context.Context) (*tls.Config, error) {
	if i.conn == nil {
		return nil, errNoConn
	}
	return i.conn.innerTLS(ctx)
}

// LoginPrincipal returns the e-mail address of the account that the connection logs
// in as, or "" without IAM login, and if the credentials do not say. It is the
// account in the client certificate, and with SQL Data that of the access token.
// [Dialer.IAMPrincipal] returns whose the credentials are now: the two differ after
// the credentials have been replaced, until a Dial has had the certificate replaced,
// too. Driver packages call it to learn whom to log in as. ctx bounds the wait for a
// file or for the metadata server. The zero ConnInfo is an [ErrConfig].
func (i ConnInfo) LoginPrincipal(ctx context.Context) (string, error) {
	if i.conn == nil {
		return "", errNoConn
	}
	return i.conn.loginPrincipal(ctx)
}

// ExchangeMetadata makes the first Write tell the server that the client's protocol
// type is TLS, if the server supports that and [WithMetadataExchange] does not forbid
// it. It reports whether that is so: MySQL then considers the connection secure, and
// a driver must send passwords as over MySQL's own TLS. It is for driver packages,
// which call it before the first Read and Write.
func (i ConnInfo) ExchangeMetadata() bool { return i.conn != nil && i.conn.exchangeMetadata() }

var errNoConn = asConfigError([]error{errors.New("this ConnInfo is not one of InfoOf")})

func (c *conn) describe() ConnInfo {
	return ConnInfo{
		Instance:      c.connector.key.name,
		Domain:        c.at.domain,
		EngineVersion: c.info.DatabaseVersion,
		IPType:        IPType(reach.TypeOf(c.at.host, c.info)),
		conn:          c,
	}
}

func (c *conn) location() *location { return c.at }

func (c *conn) innerTLS(context.Context) (*tls.Config, error) { return c.info.InnerTLS(), nil }

func (c *conn) loginPrincipal(ctx context.Context) (string, error) {
	email, err := c.info.Login.Email(ctx)
	return email, c.connector.unknown(err)
}

func (c *conn) exchangeMetadata() bool {
	if !c.tells && c.exchange != nil {
		c.tells = true
	}
	return c.tells
}

func (c *streamConn) describe() ConnInfo {
	return ConnInfo{Instance: c.connector.key.name, Domain: c.domain, SQLData: true, conn: c}
}

func (c *streamConn) location() *location { return nil }

func (c *streamConn) innerTLS(ctx context.Context) (*tls.Config, error) {
	d := c.connector.dialer
	ctx, cancel := d.bound(ctx, d.cfg.dial.timeout)
	defer cancel()
	info, err := c.connector.known.Cache.Get(ctx)
	if err != nil {
		return nil, d.reason(c.connector.String(), c.connector.newError(OpRefresh, err))
	}
	return info.InnerTLS(), nil
}

func (c *streamConn) loginPrincipal(ctx context.Context) (string, error) {
	d := c.connector.dialer
	if !c.connector.key.iam || d.credentials == nil {
		return "", nil
	}
	email, err := d.credentials.Email(ctx)
	return email, c.connector.unknown(err)
}

func (c *streamConn) exchangeMetadata() bool { return false }

func (c *streamConn) repeatLogin(string, []DialOption, func(net.Conn) (bool, error)) {}

// What an eitherConn tells is about the connection that is in use.
func (c eitherConn) current() dialConn      { return c.Current().(dialConn) }
func (c eitherConn) describe() ConnInfo     { return c.current().describe() }
func (c eitherConn) location() *location    { return c.current().location() }
func (c eitherConn) exchangeMetadata() bool { return c.current().exchangeMetadata() }
func (c eitherConn) innerTLS(ctx context.Context) (*tls.Config, error) {
	return c.current().innerTLS(ctx)
}
func (c eitherConn) loginPrincipal(ctx context.Context) (string, error) {
	return c.current().loginPrincipal(ctx)
}
func (c eitherConn) repeatLogin(as string, opts []DialOption, do func(net.Conn) (again bool, err error)) {
	c.current().repeatLogin(as, opts, do)
}
