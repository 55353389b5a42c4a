package pgtunnel

import (
	"context"
	"database/sql/driver"
	"errors"
	"net"
	"syscall"

	"github.com/cloudsqlconn/cloudsqlconn/internal/secondway"
)

// again is a connection that is made again if the server refuses its client
// certificate, which it does only when the first message would be answered: the
// message goes over the second one then. database/sql does that for its drivers; pgx,
// and pools over it, do not.
type again struct {
	*secondway.Conn
	by *session // whose configuration has dialled; nil: of none
}

// socketAgain is an again over sockets.
type socketAgain struct{ again }

// connectAgain dials, and makes an again of the connection. Both Dials have the values of
// ctx.
func connectAgain(ctx context.Context, by *session, dial func(context.Context) (net.Conn, error)) (net.Conn, error) {
	first, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	values := context.WithoutCancel(ctx)
	c := again{secondway.New(first, secondway.Way{
		Refused: func(err error) bool { return errors.Is(err, driver.ErrBadConn) },
		Open: func(closed context.Context, written []byte) (net.Conn, error) {
			ctx, cancel := context.WithCancel(values)
			defer cancel()
			defer context.AfterFunc(closed, cancel)()
			second, err := dial(ctx)
			if err != nil {
				return nil, err
			}
			return second, secondway.Send(ctx, second, written)
		},
		Go: func(f func()) error {
			go f() // it ends soon after the connection is closed
			return nil
		},
	}), by}
	if _, ok := first.(syscall.Conn); ok {
		return socketAgain{c}, nil
	}
	return c, nil
}

// session returns by.
func (c again) session() *session { return c.by }

// NetConn returns the connection that is in use.
func (c again) NetConn() net.Conn { return c.Current() }

// SyscallConn gives access to the socket of the connection that is in use.
func (c socketAgain) SyscallConn() (syscall.RawConn, error) {
	if s, ok := c.Current().(syscall.Conn); ok {
		return s.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}
