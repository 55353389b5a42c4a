//go:build !unix

package postgres

import "net"

// heard cannot tell here.
func heard(net.Conn) bool { return false }
