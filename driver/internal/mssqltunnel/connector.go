// Package mssqltunnel connects go-mssqldb through a Dialer, and sees to the login. It
// does not know how data source names are read.
package mssqltunnel

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"

	mssql "github.com/microsoft/go-mssqldb"
	"github.com/microsoft/go-mssqldb/msdsn"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/driver/internal/ctxconn"
	"github.com/cloudsqlconn/cloudsqlconn/driver/internal/sqldriver"
)

// Login is how to log in to what. It is immutable.
type Login struct {
	Dialer   *cloudsqlconn.Dialer
	Instance string
	Options  []cloudsqlconn.DialOption
	Config   msdsn.Config
	Verify   bool // the server of TLS inside TDS, by what the Dialer knows
}

// Connect connects, and returns what the connection runs over with it. Where go-mssqldb
// looks at ctx while it dials only, it returns when ctx has ended.
func (l *Login) Connect(ctx context.Context) (*mssql.Conn, *ctxconn.Conn, error) {
	a := &attempt{Login: l, ctx: ctx}
	cfg := l.Config
	if l.Verify {
		cfg.TLSConfig = cfg.TLSConfig.Clone()
		cfg.TLSConfig.VerifyConnection = a.verifyInner
	}
	m := mssql.NewConnectorConfig(cfg)
	m.Dialer = a
	stop := context.AfterFunc(ctx, a.abort)
	conn, err := m.Connect(ctx)
	switch ended := !stop(); {
	case ended && err == nil:
		_ = conn.Close()
		return nil, nil, sqldriver.ConnectError(l.Instance, ctx.Err())
	case ended && !errors.Is(err, ctx.Err()):
		return nil, nil, sqldriver.ConnectError(l.Instance, fmt.Errorf("mssql: login: %w", ctx.Err()))
	case a.unverified != nil: // go-mssqldb drops the cause
		return nil, nil, &cloudsqlconn.Error{
			Op: cloudsqlconn.OpLogin, Instance: l.Instance,
			Hint: "The database's own certificate, inside the Dialer's TLS, is not from the instance's server CA; trustservercertificate=true in the data source name accepts any there.",
			Err:  fmt.Errorf("%w: TLS inside TDS: %w", cloudsqlconn.ErrUnverified, a.unverified),
		}
	case err != nil:
		return nil, nil, l.refused(ctx, err)
	}
	return conn.(*mssql.Conn), a.conn, nil
}

// refused returns err, the error of a login, with a hint if the server has refused it.
func (l *Login) refused(ctx context.Context, err error) error {
	const loginFailed, noDatabase = 18456, 4060
	said := func(number int32) bool {
		answer, _ := errors.AsType[mssql.Error](err)
		return answer.Number == number || slices.ContainsFunc(answer.All, func(e mssql.Error) bool { return e.Number == number })
	}
	as := sqldriver.Login{
		Dialer: l.Dialer, Options: l.Options, Instance: l.Instance, Engine: sqldriver.SQLServer, User: l.Config.User,
		NoPassword: l.Config.Password == "",
	}
	switch byPassword := l.Config.Parameters["authenticator"] == ""; {
	case said(noDatabase): // which is followed by loginFailed
		return as.NoDatabase(err)
	case said(loginFailed) && byPassword:
		return as.Refused(ctx, err)
	}
	return sqldriver.ConnectError(l.Instance, err)
}

// attempt is one Connect. It is go-mssqldb's dialer: a HostDialer, since for
// those no host is looked up.
type attempt struct {
	*Login
	ctx        context.Context
	unverified error // why the server of TLS inside TDS was refused

	mu   sync.Mutex    // guards conn
	conn *ctxconn.Conn // nil before it is dialled
}

var _ mssql.HostDialer = (*attempt)(nil)

// HostName is asked of every HostDialer, and used by none.
func (a *attempt) HostName() string { return a.Config.Host }

// DialContext dials the instance. It does so once: a server that sends its
// client on to another address would get it back, for ever.
func (a *attempt) DialContext(ctx context.Context, _, addr string) (net.Conn, error) {
	if a.conn != nil {
		return nil, fmt.Errorf("the server wants its client to go to %q, which no Dialer can reach", addr)
	}
	conn, err := sqldriver.Dial(ctx, a.Dialer, a.Instance, sqldriver.SQLServer, a.Options)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.conn = ctxconn.New(conn)
	if a.ctx.Err() != nil {
		_ = conn.Close()
	}
	return a.conn, nil
}

// abort ends a login that is in progress.
func (a *attempt) abort() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.conn != nil {
		_ = a.conn.Close()
	}
}

// verifyInner verifies the server of TLS inside TDS, by the metadata that the tunnel
// was made with: what the name means now can be something else.
func (a *attempt) verifyInner(s tls.ConnectionState) error {
	info, _ := cloudsqlconn.InfoOf(a.conn.Conn)
	inner, err := info.InnerTLS(a.ctx)
	if err == nil {
		s.ServerName = inner.ServerName // not the host of the data source name
		err = inner.VerifyConnection(s)
	}
	a.unverified = err
	return err
}
