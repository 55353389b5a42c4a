// Package sqldriver is what the driver packages share: the parameters of data source names
// that are for the Dialer, connectors of database/sql, Dials, and errors with hints. It knows no protocol of a database, and no driver of one.
package sqldriver

import (
	"context"
	"database/sql/driver"
)

// Opener opens connections: a driver.Connector without its driver.
type Opener interface {
	Connect(context.Context) (driver.Conn, error)
}

// OpenFunc makes what opens the connections of a data source name. Nothing is kept
// of it here.
type OpenFunc func(dsn string) (Opener, error)

// NewConnector returns the connector that open makes of dsn. Its Driver opens by
// open, too: what wraps drivers, such as instrumentation, asks for it and would
// go past the tunnel with the native one.
func NewConnector(dsn string, open OpenFunc) (driver.Connector, error) {
	c, err := open(dsn)
	if err != nil {
		return nil, err
	}
	return connector{c, &contextDriver{open}}, nil
}

// Of returns o, whose errors name this instance.
func Of(instance string, o Opener) Opener { return ofInstance{o, instance} }

type ofInstance struct {
	Opener
	instance string
}

func (o ofInstance) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := o.Opener.Connect(ctx)
	if err != nil {
		return nil, ConnectError(o.instance, err)
	}
	return conn, nil
}

type connector struct {
	Opener
	driver *contextDriver
}

func (c connector) Driver() driver.Driver { return c.driver }

// Connect connects. Every error is a [*cloudsqlconn.Error].
func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Opener.Connect(ctx)
	if err != nil {
		return nil, ConnectError("", err)
	}
	return conn, nil
}

// contextDriver hands the caller's context to the connector: that is what
// driver.DriverContext is for.
type contextDriver struct{ open OpenFunc }

var _ driver.DriverContext = (*contextDriver)(nil)

// OpenConnector returns the connector of dsn. An empty dsn is an error of its
// Connect only: what wants to know the driver opens that, and never connects.
func (d *contextDriver) OpenConnector(dsn string) (driver.Connector, error) {
	c, err := d.open(dsn)
	switch {
	case err == nil:
		return connector{c, d}, nil
	case dsn == "":
		return connector{unopened{err}, d}, nil
	}
	return nil, err
}

func (d *contextDriver) Open(dsn string) (driver.Conn, error) {
	c, err := d.open(dsn)
	if err != nil {
		return nil, err
	}
	return connector{c, d}.Connect(context.Background())
}

type unopened struct{ err error }

func (u unopened) Connect(context.Context) (driver.Conn, error) { return nil, u.err }
