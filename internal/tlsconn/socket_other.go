//go:build !unix

package tlsconn

import (
	"net"
	"syscall"
)

// rawSocket returns nil: sockets cannot be looked at here.
func rawSocket(net.Conn) syscall.RawConn { return nil }

func (t *transport) look() error { return errQuiet }

func (t *transport) tryRead([]byte) (int, error) { return 0, errQuiet }
