package cloudsqltest_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// wantInstanceAt connects without the kit's network.
func wantInstanceAt(t *testing.T, c *client, host string) {
	t.Helper()
	conn, err := tls.Dial("tcp", net.JoinHostPort(host, "3307"), c.config())
	wantNil(t, err)
	defer conn.Close()
	wantEcho(t, conn)
}

func wantNobodyAt(t *testing.T, host string) {
	t.Helper()
	if c, err := net.Dial("tcp", net.JoinHostPort(host, "3307")); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%s: got %v, want ECONNREFUSED", host, err)
		if err == nil {
			_ = c.Close()
		}
	}
}

func TestListensOnPort3307WhereItIsFree(t *testing.T) {
	t.Parallel()
	taken := takePort3307(t)
	seen := map[string]bool{}
	for range 3 {
		c := newClient(t, cloudsqltest.NewServer(), cloudsqltest.Instance{ListenOn3307: true})
		defer c.s.Close()
		for _, host := range c.p.Addrs() {
			if seen[host] || host == taken {
				t.Errorf("address %s is taken", host)
			}
			seen[host] = true
			wantInstanceAt(t, c, host)
		}
	}
}

// takePort3307 listens, as any program could, at one of the first addresses
// that a server would take.
func takePort3307(t *testing.T) (host string) {
	t.Helper()
	for n := 2; n < 200; n++ {
		host := fmt.Sprintf("127.2.0.%d", n)
		addr := net.JoinHostPort(host, "3307")
		claim, err := net.ListenPacket("udp", addr)
		if err != nil {
			continue // an instance's, of this test or of another process
		}
		l, err := net.Listen("tcp", addr)
		_ = claim.Close()
		if err == nil {
			t.Cleanup(func() { _ = l.Close() })
			return host
		}
	}
	t.Fatal("port 3307 is taken on all addresses")
	return ""
}

func TestInstanceOnPort3307StopsStartsAndMoves(t *testing.T) {
	t.Parallel()
	c := newClient(t, cloudsqltest.NewServer(), cloudsqltest.Instance{ListenOn3307: true})
	defer c.s.Close()
	home := c.p.Addrs()
	c.p.Stop()
	for _, host := range home {
		wantNobodyAt(t, host)
	}
	c.p.Start()
	for _, host := range home {
		wantInstanceAt(t, c, host)
	}

	// It keeps one of its addresses, and changes the other. What it leaves may be
	// somebody's at once, unless it is out of the way.
	private := func(host string) map[cloudsqlconn.IPType]string {
		return map[cloudsqlconn.IPType]string{cloudsqlconn.PublicIP: home[cloudsqlconn.PublicIP], cloudsqlconn.PrivateIP: host}
	}
	first, second := fmt.Sprintf("127.77.%d.1", os.Getpid()%256), fmt.Sprintf("127.77.%d.2", os.Getpid()%256)
	c.p.SetAddrs(private(first))
	wantInstanceAt(t, c, first)
	c.p.SetAddrs(private(second))
	wantInstanceAt(t, c, home[cloudsqlconn.PublicIP])
	wantInstanceAt(t, c, second)
	wantNobodyAt(t, first)

	taken := takePort3307(t)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("moving to an address that is taken did not panic")
			}
		}()
		c.p.SetAddrs(private(taken))
	}()
	wantInstanceAt(t, c, second) // as if nothing had happened
	c.p.Stop()
	c.p.SetAddrs(private(first))
	c.p.Start()
	wantInstanceAt(t, c, first)

	c.s.Close()
	c.p.SetAddrs(private(second))
	wantNobodyAt(t, first)
	wantNobodyAt(t, second)
}

func TestPort3307AndAddressesOfOnesOwnContradict(t *testing.T) {
	t.Parallel()
	s := cloudsqltest.NewServer()
	defer s.Close()
	defer func() {
		if recover() == nil {
			t.Error("AddInstance did not panic")
		}
	}()
	s.AddInstance(instanceName, cloudsqltest.Instance{ListenOn3307: true, Addrs: map[cloudsqlconn.IPType]string{cloudsqlconn.PublicIP: "127.1.0.2"}})
}
