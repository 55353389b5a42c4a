package cloudsqltest_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// connectTo is connect, to the public address among these.
func (c *client) connectTo(addrs map[cloudsqlconn.IPType]string, config *tls.Config) (*tls.Conn, error) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 10*time.Second)
	defer cancel()
	raw, err := c.s.DialContext(ctx, "tcp", net.JoinHostPort(addrs[cloudsqlconn.PublicIP], "3307"))
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, err
	}
	return conn, nil
}

func (c *client) wantNodeCounts(n *cloudsqltest.PoolNode, want cloudsqltest.Counts) {
	c.t.Helper()
	eventually(n.Counts, want)
}

func TestMetadataHasTheNodesOfAReadPool(t *testing.T) {
	inMemory(t, cloudsqltest.Instance{Nodes: []cloudsqltest.Node{
		{},
		{Name: "second", Addrs: map[cloudsqlconn.IPType]string{cloudsqlconn.PrivateIP: "10.0.0.2", cloudsqlconn.PSC: "Node.europe-west1.sql-psc.goog"}, DNSNames: []string{"node.example.com."}},
		{DNSNames: []string{"third.example.com."}},
	}}, func(t *testing.T, c *client) {
		type node struct {
			Name, DNSName string
			IPAddresses   []struct{ Type, IPAddress string }
			DNSNames      []struct{ Name, ConnectionType string }
		}
		var got struct {
			NodeCount   int
			Nodes       []node
			IPAddresses []struct{ Type, IPAddress string }
		}
		c.call("GET", instancePath+"/connectSettings", nil, &got)
		type ip = struct{ Type, IPAddress string }
		type dns = struct{ Name, ConnectionType string }
		first, third := c.p.Nodes()[0].Addrs(), c.p.Nodes()[2].Addrs()
		want := []node{
			{Name: "my-db-node-1", IPAddresses: []ip{{"PRIMARY", first[cloudsqlconn.PublicIP]}, {"PRIVATE", first[cloudsqlconn.PrivateIP]}}},
			{Name: "second", DNSName: "node.europe-west1.sql-psc.goog.", IPAddresses: []ip{{"PRIVATE", "10.0.0.2"}},
				DNSNames: []dns{{"node.example.com.", "PUBLIC"}, {"node.europe-west1.sql-psc.goog.", "PRIVATE_SERVICE_CONNECT"}}},
			{Name: "my-db-node-3", DNSName: "third.example.com.", IPAddresses: []ip{{"PRIMARY", third[cloudsqlconn.PublicIP]}, {"PRIVATE", third[cloudsqlconn.PrivateIP]}},
				DNSNames: []dns{{"third.example.com.", "PUBLIC"}}},
		}
		if got.NodeCount != 3 || !reflect.DeepEqual(got.Nodes, want) {
			t.Errorf("got %d nodes: %+v, want %+v", got.NodeCount, got.Nodes, want)
		}
		if len(got.IPAddresses) != 3 {
			t.Errorf("the pool's own addresses are %v", got.IPAddresses)
		}
		var addrs []string
		for _, a := range []map[cloudsqlconn.IPType]string{c.p.Addrs(), first, third} {
			addrs = append(addrs, a[cloudsqlconn.PublicIP], a[cloudsqlconn.PrivateIP])
		}
		slices.Sort(addrs)
		if len(slices.Compact(addrs)) != 6 || slices.Contains(addrs, "") {
			t.Errorf("the default addresses are %q", addrs)
		}
		if got := c.p.Nodes()[1].Name(); got != "second" {
			t.Errorf("the second node is %q", got)
		}
	})
}

func TestEachNodeIsReachedAndCountedByItself(t *testing.T) {
	onBoth(t, cloudsqltest.Instance{Nodes: make([]cloudsqltest.Node, 3)}, func(t *testing.T, c *client) {
		config := c.config()
		for i, n := range c.p.Nodes() {
			for range i + 1 {
				conn, err := c.connectTo(n.Addrs(), config)
				wantNil(t, err)
				defer conn.Close()
				wantEcho(t, conn)
			}
		}
		defer c.mustConnect(config).Close()
		for i, n := range c.p.Nodes() {
			c.wantNodeCounts(n, cloudsqltest.Counts{Accepted: i + 1, Handshakes: i + 1})
		}
		c.wantCounts(cloudsqltest.Counts{Accepted: 7, Handshakes: 7})
		if n := c.p.Nodes()[2].CutConnections(true); n != 3 {
			t.Errorf("cut %d connections of the third node, want 3", n)
		}
		if n := c.p.CutConnections(false); n != 4 {
			t.Errorf("cut %d of the others, want 4", n)
		}
		c.wantCounts(cloudsqltest.Counts{Accepted: 7, Handshakes: 7, Cut: 7})
	})
}

func TestOneNodeStops(t *testing.T) {
	onBoth(t, cloudsqltest.Instance{Nodes: make([]cloudsqltest.Node, 2)}, func(t *testing.T, c *client) {
		config := c.config()
		first, second := c.p.Nodes()[0], c.p.Nodes()[1]
		open, err := c.connectTo(first.Addrs(), config)
		wantNil(t, err)
		defer open.Close()
		wantEcho(t, open) // now it has been counted
		wantConnects := func(addrs map[cloudsqlconn.IPType]string, want bool) {
			t.Helper()
			conn, err := c.connectTo(addrs, config)
			if err == nil {
				defer conn.Close()
				wantEcho(t, conn)
			}
			if (err == nil) != want || err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("got %v, want it to connect: %t", err, want)
			}
		}
		first.Stop()
		if _, err := open.Read(make([]byte, 1)); err == nil {
			t.Error("its connection is still there")
		}
		wantConnects(first.Addrs(), false)
		wantConnects(second.Addrs(), true)
		wantConnects(c.p.Addrs(), true)
		first.Start()
		wantConnects(first.Addrs(), true)
		c.wantNodeCounts(first, cloudsqltest.Counts{Accepted: 2, Handshakes: 2, Cut: 1, Refused: 1})

		c.p.Stop()
		for _, addrs := range []map[cloudsqlconn.IPType]string{first.Addrs(), second.Addrs(), c.p.Addrs()} {
			wantConnects(addrs, false)
		}
		c.p.Start()
		wantConnects(second.Addrs(), true)
		c.s.DeleteInstance(c.p)
		first.Start() // too late
		wantConnects(first.Addrs(), false)
	})
}

func TestOneNodeBehavesBadly(t *testing.T) {
	inMemory(t, cloudsqltest.Instance{Nodes: make([]cloudsqltest.Node, 2)}, func(t *testing.T, c *client) {
		config := c.config()
		first, second := c.p.Nodes()[0], c.p.Nodes()[1]
		want := func(n *cloudsqltest.PoolNode, target error) {
			t.Helper()
			conn, err := c.connectTo(n.Addrs(), config)
			if err == nil {
				_ = conn.Close()
			}
			if !errors.Is(err, target) {
				t.Errorf("%s: got %v, want %v", n.Name(), err, target)
			}
		}
		first.SetBehaviorFor(2, cloudsqltest.ResetAtOnce)
		want(first, syscall.ECONNRESET)
		want(second, nil)
		want(first, syscall.ECONNRESET)
		want(first, nil)
		c.wantNodeCounts(first, cloudsqltest.Counts{Accepted: 3, Dropped: 2, Handshakes: 1})

		first.SetBehavior(cloudsqltest.Unreachable)
		want(first, context.DeadlineExceeded)
		want(second, nil)
		c.p.SetBehaviorFor(3, cloudsqltest.CloseAtOnce) // of the whole pool
		want(first, context.DeadlineExceeded)
		want(second, io.EOF)
		first.SetBehavior(cloudsqltest.Healthy)
		want(first, io.EOF)
		want(second, io.EOF)
		want(second, nil)
		c.p.SetBehaviorFor(1, cloudsqltest.Unreachable)
		want(second, context.DeadlineExceeded)
		want(second, nil)
		c.s.Swallow(second.Addrs()[cloudsqlconn.PublicIP])
		want(second, context.DeadlineExceeded)
		want(first, nil)
		c.wantNodeCounts(second, cloudsqltest.Counts{Accepted: 6, Handshakes: 4, Dropped: 2, Swallowed: 2})
	})
}

func TestNodesHaveTheCertificatesOfThePool(t *testing.T) {
	inMemory(t, cloudsqltest.Instance{CAMode: cloudsqltest.GoogleCAS, DNSNames: []string{"pool.example.com."}, Nodes: []cloudsqltest.Node{{DNSNames: []string{"node.example.com."}}}}, func(t *testing.T, c *client) {
		n := c.p.Nodes()[0]
		wantNames := func(want ...string) {
			t.Helper()
			conn, err := c.connectTo(n.Addrs(), c.config())
			wantNil(t, err)
			defer conn.Close()
			if got := conn.ConnectionState().PeerCertificates[0].DNSNames; !slices.Equal(got, want) {
				t.Errorf("the certificate is for %q, want %q", got, want)
			}
		}
		wantNames("pool.example.com.", "node.example.com.")
		config := c.config()
		c.p.RotateServerCA()
		if _, err := c.connectTo(n.Addrs(), config); err == nil {
			t.Error("the node has the old certificate")
		}
		c.wantNodeCounts(n, cloudsqltest.Counts{Accepted: 2, Handshakes: 1, Distrusted: 1})
		config = c.config()
		c.p.RotateClientCA()
		conn, err := c.connectTo(n.Addrs(), config)
		wantNil(t, err)
		wantAlert(t, conn, "tls: unknown certificate authority")
		_ = conn.Close()

		// A new name of the node comes into the certificate.
		addrs := n.Addrs()
		old := addrs[cloudsqlconn.PublicIP]
		addrs[cloudsqlconn.PublicIP], addrs[cloudsqlconn.PSC] = "203.0.113.9", "node.europe-west1.sql-psc.goog"
		n.SetAddrs(addrs)
		wantNames("pool.example.com.", "node.example.com.", "node.europe-west1.sql-psc.goog")
		if _, err := c.s.DialContext(t.Context(), "tcp", old+":3307"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("the old address: %v", err)
		}
	})
}

// It does not run beside other tests: it changes the standard logger.
func TestCloseNamesTheNodeThatHangs(t *testing.T) {
	var logged bytes.Buffer
	log.SetOutput(&logged)
	defer log.SetOutput(os.Stderr)
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		c := newClient(t, cloudsqltest.NewMemoryServer(), cloudsqltest.Instance{
			Handler: func(net.Conn) { <-release },
			Nodes:   []cloudsqltest.Node{{Name: "node-7"}},
		})
		conn, err := c.connectTo(c.p.Nodes()[0].Addrs(), c.config())
		wantNil(t, err)
		defer conn.Close()
		synctest.Wait()
		time.AfterFunc(10*time.Second, func() { close(release) })
		c.s.Close()
	})
	if want := fmt.Sprintf("%s, node node-7: connection from", instanceName); !strings.Contains(logged.String(), want) {
		t.Errorf("logged %q, want %q in it", logged.String(), want)
	}
}
