package mysql

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"syscall"

	"github.com/go-sql-driver/mysql"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/driver/internal/sqldriver"
)

// RegisterDriver makes a driver for sql.Open that connects through a Dialer of
// its own, made with opts. A name that is taken is an error, and so is tcp or unix.
// The name also becomes a network of go-sql-driver's own driver, and replaces one
// registered with mysql.RegisterDialContext:
//
//	sql.Open("mysql", "app:secret@cloudsql-mysql(project:region:instance)/shop")
//
// connects through the same Dialer when name is cloudsql-mysql. cleanup closes
// the Dialer, and the network is unknown from then on; the driver's name stays
// taken. cleanup is never nil. No data source name is kept.
func RegisterDriver(name string, opts ...cloudsqlconn.Option) (cleanup func() error, err error) {
	if slices.Contains([]string{"tcp", "unix"}, name) {
		err := fmt.Errorf("%w: %s is a network that direct connections use; choose another name", cloudsqlconn.ErrConfig, name)
		return func() error { return nil }, sqldriver.ConfigError(err, "Register the driver as cloudsql-mysql, for data source names like app:secret@cloudsql-mysql(project:region:instance)/shop.")
	}
	d, closeDialer, err := sqldriver.Register(name, opts, func(d *cloudsqlconn.Dialer, dsn string) (sqldriver.Opener, error) {
		return newConnector(d, dsn, nil)
	})
	if err != nil {
		return closeDialer, err
	}
	mysql.RegisterDialContext(name, func(ctx context.Context, addr string) (net.Conn, error) {
		return dialGreeted(ctx, d, addr)
	})
	return sync.OnceValue(func() error {
		mysql.DeregisterDialContext(name)
		return closeDialer()
	}), nil
}

// dialGreeted connects for go-sql-driver's own driver. It waits for the server's
// greeting, which the driver would do next: a client certificate that is refused
// is an error of the Dial then, after which database/sql connects again.
func dialGreeted(ctx context.Context, d *cloudsqlconn.Dialer, addr string) (net.Conn, error) {
	if err := checkAddress(d, addr); err != nil {
		return nil, sqldriver.ConfigError(err, form)
	}
	c, err := sqldriver.Dial(ctx, d, addr, sqldriver.MySQL, nil)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	said := make([]byte, 256)
	n, err := c.Read(said)
	switch {
	case !stop():
		err = context.Cause(ctx)
	case errors.Is(err, io.EOF):
		err = sqldriver.SilentError(addr, err)
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	g := &greeted{c, said[:n]}
	if socket, ok := c.(syscall.Conn); ok {
		return struct {
			*greeted
			syscall.Conn
		}{g, socket}, nil
	}
	return g, nil
}

// greeted is a connection of which something has been read already.
type greeted struct {
	net.Conn
	said []byte // that has to be read first
}

func (g *greeted) Read(b []byte) (int, error) {
	if len(g.said) == 0 {
		return g.Conn.Read(b)
	}
	n := copy(b, g.said)
	g.said = g.said[n:]
	return n, nil
}
