//go:build unix

package mysql_test

import (
	"context"
	"net"
	"syscall"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/mysqlserver"
)

// F22, as MySQL does it since 8.0.24: it says why before it hangs up.
func TestNobodyNoticesThatTheServerEndsIdleConnections(t *testing.T) {
	t.Parallel()
	kit := cloudsqltest.NewServer()
	defer kit.Close()
	server := &mysqlserver.Server{Accounts: accounts}
	kit.AddInstance(instance, cloudsqltest.Instance{DatabaseVersion: "MYSQL_8_4", Handler: server.Serve})
	var sockets []*net.TCPConn
	d := newDialer(t, append(kit.Options(), cloudsqlconn.WithDialFunc(func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := kit.DialContext(ctx, network, addr)
		if err == nil {
			sockets = append(sockets, c.(*net.TCPConn))
		}
		return c, err
	}))...)
	w := &world{t: t, kit: kit, mysql: server, dialer: d}
	db := w.open("app:secret@cloudsql-mysql(" + instance + ")/shop")
	defer db.Close()
	for range 3 {
		wantNil(t, db.PingContext(t.Context()))
		if n := server.ExpireIdle(); n != 1 {
			t.Fatalf("%d sessions expired, want 1", n)
		}
		waitHeard(t, sockets[len(sockets)-1])
	}
	wantNil(t, db.PingContext(t.Context()))
	wantNil(t, db.PingContext(t.Context()))
	if n := len(server.Logins()); n != 4 {
		t.Errorf("%d logins, want 4", n)
	}
}

// waitHeard waits until there is something to read from the socket.
func waitHeard(t *testing.T, c *net.TCPConn) {
	t.Helper()
	raw, err := c.SyscallConn()
	wantNil(t, err)
	wantNil(t, raw.Read(func(fd uintptr) bool {
		_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK)
		return err != syscall.EAGAIN
	}))
}
