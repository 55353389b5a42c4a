package reach

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/netdial"
)

// Way is how TCP connections are opened.
type Way struct {
	Dial      netdial.Func
	Foreign   bool           // Dial is the program's own
	Proxy     *netdial.Proxy // nil: none
	KeepAlive time.Duration  // see netdial.KeepAlive
}

// ErrNoConn is for a function of the program's that breaks its contract.
var ErrNoConn = errors.New("the function of WithDialFunc returned neither a connection nor an error")

// Open opens the TCP connection to an address.
func (w *Way) Open(ctx context.Context, addr string) (net.Conn, error) {
	if w.Proxy != nil {
		return w.Proxy.Dial(ctx, w.openTCP, addr)
	}
	return w.openTCP(ctx, "tcp", addr)
}

func (w *Way) openTCP(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := w.Dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	if conn == nil {
		return nil, ErrNoConn
	}
	netdial.KeepAlive(conn, w.KeepAlive)
	return conn, nil
}
