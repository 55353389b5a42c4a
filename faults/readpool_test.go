package faults_test

import (
	"testing"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// handshakes are how many connections each node has.
func (w *world) handshakes() (counts []int) {
	for _, n := range w.instance.Nodes() {
		counts = append(counts, n.Counts().Handshakes)
	}
	return counts
}

func TestDialsSpreadOverTheNodesOfAReadPool(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{Nodes: make([]cloudsqltest.Node, 3)}, func(t *testing.T, w *world) {
		for range 30 {
			w.wantDial(cloudsqlconn.WithPrivateIP())
		}
		for i, n := range w.handshakes() {
			if n != 10 {
				t.Errorf("node %d has %d of 30 connections", i, n)
			}
		}
		w.wantCalls(2)
	})
}

func TestANodeThatFailsIsLeftOutForAWhile(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{Nodes: make([]cloudsqltest.Node, 3)}, func(t *testing.T, w *world) {
		bad := w.instance.Nodes()[1]
		bad.Stop()
		for range 12 {
			w.wantDial(cloudsqlconn.WithPrivateIP())
		}
		if n := bad.Counts().Refused; n != 1 {
			t.Errorf("the stopped node was tried %d times by 12 Dials", n)
		}
		bad.Start()
		time.Sleep(30 * time.Second)
		for range 12 {
			w.wantDial(cloudsqlconn.WithPrivateIP())
		}
		if n := bad.Counts().Handshakes; n != 4 {
			t.Errorf("the node has %d of 12 connections after it came back", n)
		}
	})
}

func TestOnlyNodesWithTheWantedAddressTypeAreUsed(t *testing.T) {
	nodes := []cloudsqltest.Node{
		{Addrs: map[cloudsqlconn.IPType]string{cloudsqlconn.PublicIP: "127.7.0.1"}},
		{Addrs: map[cloudsqlconn.IPType]string{cloudsqlconn.PrivateIP: "127.7.0.2"}},
		{Addrs: map[cloudsqlconn.IPType]string{cloudsqlconn.PublicIP: "127.7.0.3", cloudsqlconn.PrivateIP: "127.7.0.4"}},
	}
	inWorld(t, cloudsqltest.Instance{Nodes: nodes}, func(t *testing.T, w *world) {
		for range 6 {
			w.wantDial(cloudsqlconn.WithPrivateIP())
		}
		if got := w.handshakes(); got[0] != 0 || got[1]+got[2] != 6 || got[1] == 0 || got[2] == 0 {
			t.Errorf("connections of the nodes: %v", got)
		}
	})
}

func TestAPoolWithoutALivingNodeIsReachedByItsOwnAddress(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{Nodes: make([]cloudsqltest.Node, 2)}, func(t *testing.T, w *world) {
		for _, n := range w.instance.Nodes() {
			n.Stop()
		}
		w.wantDial()
		if w.instance.Counts().Handshakes == 0 {
			t.Error("the pool's own address was not used")
		}
	})
}
