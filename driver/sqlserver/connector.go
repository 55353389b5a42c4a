package sqlserver

import (
	"context"
	"crypto/tls"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"sync"

	mssql "github.com/microsoft/go-mssqldb"
	"github.com/microsoft/go-mssqldb/msdsn"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/driver/internal/sqldriver"
)

// connector connects as cfg says. It is immutable.
type connector struct {
	dialer   *cloudsqlconn.Dialer
	instance string
	opts     []cloudsqlconn.DialOption
	cfg      msdsn.Config
	verify   bool // the server of TLS inside TDS, by what the Dialer knows
}

// Connect connects. Where go-mssqldb looks at ctx while it dials only, it
// returns when ctx has ended.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	a := &attempt{connector: c, ctx: ctx}
	cfg := c.cfg
	if c.verify {
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
		return nil, sqldriver.ConnectError(c.instance, ctx.Err())
	case ended && !errors.Is(err, ctx.Err()):
		return nil, sqldriver.ConnectError(c.instance, fmt.Errorf("mssql: login: %w", ctx.Err()))
	case a.unverified != nil: // go-mssqldb drops the cause
		return nil, &cloudsqlconn.Error{
			Op: cloudsqlconn.OpLogin, Instance: c.instance,
			Hint: "The database's own certificate, inside the Dialer's TLS, is not from the instance's server CA; trustservercertificate=true in the data source name accepts any there.",
			Err:  fmt.Errorf("%w: TLS inside TDS: %w", cloudsqlconn.ErrUnverified, a.unverified),
		}
	case err != nil:
		return nil, sqldriver.ConnectError(c.instance, err)
	}
	return &Conn{conn.(*mssql.Conn), a.conn}, nil
}

// attempt is one Connect. It is go-mssqldb's dialer: a HostDialer, since for
// those no host is looked up.
type attempt struct {
	*connector
	ctx        context.Context
	unverified error // why the server of TLS inside TDS was refused

	mu   sync.Mutex // guards conn
	conn *tunnel    // nil before it is dialled
}

// HostName is asked of every HostDialer, and used by none.
func (a *attempt) HostName() string { return a.cfg.Host }

// DialContext dials the instance. It does so once: a server that sends its
// client on to another address would get it back, for ever.
func (a *attempt) DialContext(ctx context.Context, _, addr string) (net.Conn, error) {
	if a.conn != nil {
		return nil, fmt.Errorf("the server wants its client to go to %q, which no Dialer can reach", addr)
	}
	conn, err := sqldriver.Dial(ctx, a.dialer, a.instance, sqldriver.SQLServer, a.opts)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.conn = &tunnel{Conn: conn}
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
