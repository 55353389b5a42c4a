// Package sqldriver registers drivers with database/sql.
package sqldriver

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
)

// OpenFunc makes a connector from a data source name. It is called once for
// every sql.Open; nothing is kept of it here.
type OpenFunc func(dsn string) (driver.Connector, error)

// Register makes open available to sql.Open under name. A taken name is an
// error, and then closer is called at once; otherwise closer comes back as the
// function that releases what open uses.
func Register(name string, open OpenFunc, closer func() error) (cleanup func() error, err error) {
	// sql.Register panics if the name is taken, and there is no other way to
	// ask that is safe against somebody who registers at the same time.
	defer func() {
		if r := recover(); r != nil {
			_ = closer()
			cleanup, err = nil, fmt.Errorf("cannot register the driver %q: %v; choose another name", name, r)
		}
	}()
	sql.Register(name, contextDriver{open})
	return closer, nil
}

// contextDriver hands the caller's context to the connector: that is what
// driver.DriverContext is for.
type contextDriver struct{ open OpenFunc }

var _ driver.DriverContext = contextDriver{}

func (d contextDriver) OpenConnector(dsn string) (driver.Connector, error) { return d.open(dsn) }

func (d contextDriver) Open(dsn string) (driver.Conn, error) {
	c, err := d.open(dsn)
	if err != nil {
		return nil, err
	}
	return c.Connect(context.Background())
}
